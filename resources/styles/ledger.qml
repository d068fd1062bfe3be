<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.0" styleCategories="Symbology|Fields|MapTips">
  <renderer-v2 type="categorizedSymbol" attr="to_int(&quot;flickers&quot;)" symbollevels="0" enableorderby="0" forceraster="0">
    <categories>
      <category symbol="0" value="1" label="there, gone, there" render="true"/>
      <category symbol="1" value="0" label="all others" render="false"/>
    </categories>
    <symbols>
      <symbol name="0" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="color" v="204,121,167,30"/>
          <prop k="style" v="solid"/>
          <prop k="outline_color" v="204,121,167,255"/>
          <prop k="outline_style" v="dot"/>
          <prop k="outline_width" v="0.7"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
      <symbol name="1" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="color" v="150,150,150,0"/>
          <prop k="style" v="solid"/>
          <prop k="outline_color" v="150,150,150,255"/>
          <prop k="outline_style" v="solid"/>
          <prop k="outline_width" v="0.3"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
    </symbols>
  </renderer-v2>
  <aliases>
    <alias field="object_id" name="Object" index="1"/>
    <alias field="class" name="Class" index="2"/>
    <alias field="first_seen" name="First seen" index="3"/>
    <alias field="last_seen" name="Last seen" index="4"/>
    <alias field="times_seen" name="Times seen" index="5"/>
    <alias field="flickers" name="Flickers" index="6"/>
    <alias field="history" name="History" index="7"/>
    <alias field="area_m2" name="Area (m²)" index="8"/>
  </aliases>
  <mapTip>[% "class" %]: [% "first_seen" %] – [% "last_seen" %]&lt;br&gt;[% "history" %]</mapTip>
</qgis>
