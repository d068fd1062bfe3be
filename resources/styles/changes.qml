<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.0" styleCategories="Symbology|Fields|MapTips">
  <renderer-v2 type="categorizedSymbol" attr="kind" symbollevels="0" enableorderby="0" forceraster="0">
    <categories>
      <category symbol="0" value="new" label="new" render="true"/>
      <category symbol="1" value="removed" label="removed" render="true"/>
      <category symbol="2" value="grown" label="grown" render="true"/>
      <category symbol="3" value="shrunk" label="shrunk" render="true"/>
      <category symbol="4" value="split" label="split" render="true"/>
      <category symbol="5" value="merged" label="merged" render="true"/>
      <category symbol="6" value="moved" label="moved" render="true"/>
      <category symbol="7" value="replaced" label="replaced" render="true"/>
      <category symbol="8" value="unsure" label="unsure" render="true"/>
      <category symbol="9" value="unchanged" label="unchanged" render="false"/>
    </categories>
    <symbols>
      <symbol name="0" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="color" v="0,114,178,60"/>
          <prop k="style" v="solid"/>
          <prop k="outline_color" v="0,114,178,255"/>
          <prop k="outline_style" v="solid"/>
          <prop k="outline_width" v="0.7"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
      <symbol name="1" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="color" v="213,94,0,60"/>
          <prop k="style" v="solid"/>
          <prop k="outline_color" v="213,94,0,255"/>
          <prop k="outline_style" v="dash"/>
          <prop k="outline_width" v="0.7"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
      <symbol name="2" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="color" v="86,180,233,60"/>
          <prop k="style" v="solid"/>
          <prop k="outline_color" v="86,180,233,255"/>
          <prop k="outline_style" v="solid"/>
          <prop k="outline_width" v="0.7"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
      <symbol name="3" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="color" v="230,159,0,60"/>
          <prop k="style" v="solid"/>
          <prop k="outline_color" v="230,159,0,255"/>
          <prop k="outline_style" v="dash"/>
          <prop k="outline_width" v="0.7"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
      <symbol name="4" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="color" v="204,121,167,60"/>
          <prop k="style" v="solid"/>
          <prop k="outline_color" v="204,121,167,255"/>
          <prop k="outline_style" v="solid"/>
          <prop k="outline_width" v="0.7"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
      <symbol name="5" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="color" v="204,121,167,60"/>
          <prop k="style" v="solid"/>
          <prop k="outline_color" v="204,121,167,255"/>
          <prop k="outline_style" v="dash"/>
          <prop k="outline_width" v="0.7"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
      <symbol name="6" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="color" v="0,158,115,60"/>
          <prop k="style" v="solid"/>
          <prop k="outline_color" v="0,158,115,255"/>
          <prop k="outline_style" v="solid"/>
          <prop k="outline_width" v="0.7"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
      <symbol name="7" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="color" v="0,158,115,60"/>
          <prop k="style" v="solid"/>
          <prop k="outline_color" v="0,158,115,255"/>
          <prop k="outline_style" v="dash"/>
          <prop k="outline_width" v="0.7"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
      <symbol name="8" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="color" v="240,228,66,20"/>
          <prop k="style" v="solid"/>
          <prop k="outline_color" v="240,228,66,255"/>
          <prop k="outline_style" v="dot"/>
          <prop k="outline_width" v="0.4"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
      <symbol name="9" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
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
    <alias field="kind" name="Kind" index="2"/>
    <alias field="step" name="Step" index="3"/>
    <alias field="class" name="Class" index="4"/>
    <alias field="date_before" name="Earlier date" index="5"/>
    <alias field="date_after" name="Later date" index="6"/>
    <alias field="area_before_m2" name="Area before (m²)" index="7"/>
    <alias field="area_after_m2" name="Area after (m²)" index="8"/>
    <alias field="iou" name="IoU" index="9"/>
    <alias field="offset_m" name="Offset (m)" index="10"/>
    <alias field="confidence_before" name="Confidence before" index="11"/>
    <alias field="confidence_after" name="Confidence after" index="12"/>
    <alias field="before_ids" name="Numbers before" index="13"/>
    <alias field="after_ids" name="Numbers after" index="14"/>
    <alias field="reason" name="Reason" index="15"/>
    <alias field="review" name="Review" index="16"/>
    <alias field="reviewed_at" name="Reviewed at" index="17"/>
  </aliases>
  <mapTip>&lt;b&gt;[% "kind" %]&lt;/b&gt; [% "class" %]&lt;br&gt;[% "reason" %]</mapTip>
</qgis>
