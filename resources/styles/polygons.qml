<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.0" styleCategories="Symbology|Fields|MapTips">
  <renderer-v2 type="singleSymbol">
    <symbols>
      <symbol name="0" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="color" v="220,50,40,25"/>
          <prop k="style" v="solid"/>
          <prop k="outline_color" v="220,50,40,255"/>
          <prop k="outline_style" v="solid"/>
          <prop k="outline_width" v="0.5"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
    </symbols>
  </renderer-v2>
  <aliases>
    <alias field="id" name="Number" index="1"/>
    <alias field="class" name="Class" index="2"/>
    <alias field="class_value" name="Class value" index="3"/>
    <alias field="confidence" name="Confidence" index="4"/>
    <alias field="area_m2" name="Area (m²)" index="5"/>
    <alias field="perimeter_m" name="Perimeter (m)" index="6"/>
    <alias field="outline" name="Outline" index="7"/>
    <alias field="run" name="Run" index="8"/>
  </aliases>
  <mapTip>&lt;b&gt;[% "class" %]&lt;/b&gt;&lt;br&gt;[% round("area_m2", 1) %] m² · confidence [% round("confidence", 2) %]</mapTip>
</qgis>
