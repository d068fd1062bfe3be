from PyQt6.QtSql import *
