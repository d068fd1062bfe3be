<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.0" styleCategories="Symbology|Labeling|Fields|Forms" labelsEnabled="1">
  <renderer-v2 type="categorizedSymbol" attr="split">
    <categories>
      <category value="train" label="training" render="true" symbol="0"/>
      <category value="validation" label="validation" render="true" symbol="1"/>
      <category value="test" label="test" render="true" symbol="2"/>
      <category value="todo" label="to do" render="true" symbol="3"/>
    </categories>
    <symbols>
      <symbol name="0" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="style" v="no"/>
          <prop k="outline_color" v="47,125,225,255"/>
          <prop k="outline_style" v="solid"/>
          <prop k="outline_width" v="0.8"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
      <symbol name="1" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="style" v="no"/>
          <prop k="outline_color" v="240,160,32,255"/>
          <prop k="outline_style" v="solid"/>
          <prop k="outline_width" v="0.8"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
      <symbol name="2" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="style" v="no"/>
          <prop k="outline_color" v="194,55,159,255"/>
          <prop k="outline_style" v="solid"/>
          <prop k="outline_width" v="0.8"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
      <symbol name="3" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" enabled="1" locked="0" pass="0">
          <prop k="style" v="no"/>
          <prop k="outline_color" v="245,245,245,255"/>
          <prop k="outline_style" v="dash"/>
          <prop k="outline_width" v="0.8"/>
          <prop k="outline_width_unit" v="MM"/>
          <prop k="joinstyle" v="miter"/>
        </layer>
      </symbol>
    </symbols>
  </renderer-v2>
  <labeling type="simple">
    <settings>
      <text-style fieldName="name" fontSize="10" fontWeight="75" namedStyle="Bold" fontSizeUnit="Point" textColor="255,255,255,255" textOpacity="1">
        <text-buffer bufferDraw="1" bufferSize="0.6" bufferSizeUnits="MM" bufferColor="30,30,30,220" bufferOpacity="1"/>
      </text-style>
      <placement placement="1" quadOffset="8" xOffset="1" yOffset="0.5" offsetUnits="MM" geometryGeneratorEnabled="1" geometryGeneratorType="PointGeometry" geometryGenerator="make_point(x_min($geometry), y_max($geometry))"/>
      <rendering drawLabels="1" scaleVisibility="0" obstacle="1"/>
    </settings>
  </labeling>
  <fieldConfiguration>
    <field name="name">
      <editWidget type="TextEdit"/>
    </field>
    <field name="split">
      <editWidget type="ValueMap">
        <config>
          <Option type="Map">
            <Option name="map" type="List">
              <Option type="Map">
                <Option name="training" type="QString" value="train"/>
              </Option>
              <Option type="Map">
                <Option name="validation" type="QString" value="validation"/>
              </Option>
              <Option type="Map">
                <Option name="test" type="QString" value="test"/>
              </Option>
              <Option type="Map">
                <Option name="to do" type="QString" value="todo"/>
              </Option>
            </Option>
          </Option>
        </config>
      </editWidget>
    </field>
    <field name="state">
      <editWidget type="ValueMap">
        <config>
          <Option type="Map">
            <Option name="map" type="List">
              <Option type="Map">
                <Option name="to do" type="QString" value="todo"/>
              </Option>
              <Option type="Map">
                <Option name="checked" type="QString" value="checked"/>
              </Option>
            </Option>
          </Option>
        </config>
      </editWidget>
    </field>
  </fieldConfiguration>
  <aliases>
    <alias field="name" name="Name" index="1"/>
    <alias field="split" name="Split" index="2"/>
    <alias field="state" name="State" index="3"/>
  </aliases>
  <defaults>
    <default field="name" expression="'area ' || (count(1) + 1)" applyOnUpdate="0"/>
    <default field="split" expression="'train'" applyOnUpdate="0"/>
    <default field="state" expression="'todo'" applyOnUpdate="0"/>
  </defaults>
  <editform tolerant="1"></editform>
  <featformsuppress>1</featformsuppress>
</qgis>
