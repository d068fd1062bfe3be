# qgis-stubs are written for PyQt5; under Qt 6 QGIS returns and takes these.
