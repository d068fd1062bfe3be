<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.0" styleCategories="Symbology">
  <pipe>
    <rasterrenderer type="singlebandpseudocolor" band="1" opacity="1" alphaBand="-1" nodataColor="" classificationMin="0" classificationMax="1">
      <rasterTransparency/>
      <minMaxOrigin>
        <limits>None</limits>
      </minMaxOrigin>
      <rastershader>
        <colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0" minimumValue="0" maximumValue="1">
          <item value="0.0" label="0 %" color="#c7e9ff" alpha="0"/>
          <item value="0.1" label="10 %" color="#c7e9ff" alpha="0"/>
          <item value="0.25" label="25 %" color="#8fb8f6" alpha="110"/>
          <item value="0.5" label="50 %" color="#7a6df0" alpha="170"/>
          <item value="0.75" label="75 %" color="#a01fc4" alpha="205"/>
          <item value="1.0" label="100 %" color="#5b0078" alpha="225"/>
        </colorrampshader>
      </rastershader>
    </rasterrenderer>
  </pipe>
</qgis>
