from PyQt6.QtGui import QAction as QAction  # where QGIS puts it for both, see python/PyQt/PyQt/QtWidgets.py.in
from PyQt6.QtWidgets import *
