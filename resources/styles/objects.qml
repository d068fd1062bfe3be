<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.0" styleCategories="Symbology|Fields|MapTips">
  <renderer-v2 type="categorizedSymbol" attr="status" symbollevels="0" enableorderby="0" forceraster="0">
    <categories>
      <category symbol="0" value="missed" label="missed" render="true"/>
      <category symbol="1" value="false" label="false" render="true"/>
      <category symbol="2" value="matched" label="matched" render="false"/>
    </categories>
    <symbols>
      <symbol name="0" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="color" v="43,108,176,30"/>
          <prop k="style" v="solid"/>
          <prop k="outline_color" v="43,108,176,255"/>
          <prop k="outline_style" v="solid"/>
          <prop k="outline_width" v="0.6"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
      <symbol name="1" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="color" v="215,48,31,30"/>
          <prop k="style" v="solid"/>
          <prop k="outline_color" v="215,48,31,255"/>
          <prop k="outline_style" v="solid"/>
          <prop k="outline_width" v="0.6"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
      <symbol name="2" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="color" v="27,158,119,15"/>
          <prop k="style" v="solid"/>
          <prop k="outline_color" v="27,158,119,255"/>
          <prop k="outline_style" v="solid"/>
          <prop k="outline_width" v="0.3"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
    </symbols>
  </renderer-v2>
  <aliases>
    <alias field="status" name="Status" index="1"/>
    <alias field="class" name="Class" index="2"/>
    <alias field="iou" name="IoU" index="3"/>
    <alias field="confidence" name="Confidence" index="4"/>
    <alias field="area_m2" name="Area (m²)" index="5"/>
  </aliases>
  <mapTip>&lt;b&gt;[% "status" %]&lt;/b&gt; [% "class" %]&lt;br&gt;[% round("area_m2", 1) %] m² · IoU [% round("iou", 2) %]</mapTip>
</qgis>
