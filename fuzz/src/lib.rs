//! Checks shared by the fuzz targets.

pub mod checks;
