<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.0" styleCategories="Symbology">
  <pipe>
    <rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" nodataColor="">
      <rasterTransparency/>
      <colorPalette>
        <paletteEntry value="1" label="right" color="#1b9e77" alpha="110"/>
        <paletteEntry value="2" label="false" color="#d7301f" alpha="170"/>
        <paletteEntry value="3" label="missed" color="#2b6cb0" alpha="170"/>
        <paletteEntry value="4" label="wrong class" color="#f2c037" alpha="170"/>
      </colorPalette>
    </rasterrenderer>
  </pipe>
</qgis>
