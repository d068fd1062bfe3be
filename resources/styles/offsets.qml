<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.0" styleCategories="Symbology|Fields|MapTips">
  <renderer-v2 type="categorizedSymbol" attr="to_int(&quot;used&quot;)" symbollevels="0" enableorderby="0" forceraster="0">
    <categories>
      <category symbol="0" value="1" label="used" render="true"/>
      <category symbol="1" value="0" label="left out" render="true"/>
    </categories>
    <symbols>
      <symbol name="0" type="marker" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="VectorField" enabled="1" locked="0" pass="0">
          <prop k="x_attribute" v="east_m"/>
          <prop k="y_attribute" v="north_m"/>
          <prop k="scale" v="3"/>
          <prop k="distance_unit" v="MM"/>
          <prop k="vector_field_type" v="0"/>
          <prop k="angle_orientation" v="0"/>
          <prop k="angle_units" v="0"/>
          <symbol name="@0@0" type="line" alpha="1" clip_to_extent="1" force_rhr="0">
            <layer class="ArrowLine" enabled="1" locked="0" pass="0">
              <prop k="arrow_width" v="0.6"/>
              <prop k="arrow_start_width" v="0.6"/>
              <prop k="head_length" v="1.6"/>
              <prop k="head_thickness" v="1.2"/>
              <prop k="is_curved" v="0"/>
              <prop k="is_repeated" v="0"/>
              <symbol name="@@0@0@0" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
                <layer class="SimpleFill" enabled="1" locked="0" pass="0">
                  <prop k="color" v="0,114,178,255"/>
                  <prop k="style" v="solid"/>
                  <prop k="outline_color" v="255,255,255,255"/>
                  <prop k="outline_style" v="solid"/>
                  <prop k="outline_width" v="0.2"/>
                  <prop k="outline_width_unit" v="MM"/>
                </layer>
              </symbol>
            </layer>
          </symbol>
        </layer>
      </symbol>
      <symbol name="1" type="marker" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="VectorField" enabled="1" locked="0" pass="0">
          <prop k="x_attribute" v="east_m"/>
          <prop k="y_attribute" v="north_m"/>
          <prop k="scale" v="3"/>
          <prop k="distance_unit" v="MM"/>
          <prop k="vector_field_type" v="0"/>
          <prop k="angle_orientation" v="0"/>
          <prop k="angle_units" v="0"/>
          <symbol name="@1@0" type="line" alpha="1" clip_to_extent="1" force_rhr="0">
            <layer class="ArrowLine" enabled="1" locked="0" pass="0">
              <prop k="arrow_width" v="0.6"/>
              <prop k="arrow_start_width" v="0.6"/>
              <prop k="head_length" v="1.6"/>
              <prop k="head_thickness" v="1.2"/>
              <prop k="is_curved" v="0"/>
              <prop k="is_repeated" v="0"/>
              <symbol name="@@1@0@0" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
                <layer class="SimpleFill" enabled="1" locked="0" pass="0">
                  <prop k="color" v="150,150,150,255"/>
                  <prop k="style" v="solid"/>
                  <prop k="outline_color" v="255,255,255,255"/>
                  <prop k="outline_style" v="solid"/>
                  <prop k="outline_width" v="0.2"/>
                  <prop k="outline_width_unit" v="MM"/>
                </layer>
              </symbol>
            </layer>
          </symbol>
        </layer>
      </symbol>
    </symbols>
  </renderer-v2>
  <aliases>
    <alias field="step" name="Step" index="1"/>
    <alias field="east_m" name="East (m)" index="2"/>
    <alias field="north_m" name="North (m)" index="3"/>
    <alias field="error_m" name="Error (m)" index="4"/>
    <alias field="used" name="Used" index="5"/>
  </aliases>
  <mapTip>[% round(sqrt("east_m"^2 + "north_m"^2), 2) %] m ± [% round("error_m", 2) %] m</mapTip>
</qgis>
