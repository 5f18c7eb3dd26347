//! A volume or stack with what is known about it.

use crate::source::FrameSource;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How grey values turn back into physical ones: `physical = slope × grey + offset`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GreyScale {
    /// Physical units per grey level.
    pub slope: f64,
    /// Physical value of grey level 0.
    pub offset: f64,
    /// Physical unit, for example `1/cm`.
    pub unit: String,
}

/// Value statistics in PyHST2's terms. `s1..s2` leaves out 0.001 % of the voxels on each side, `big_s1..big_s2` 0.2 %
/// (`S1`, `S2` in the files, told apart by letter case only).
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct VolumeStats {
    pub min: f64,
    pub max: f64,
    pub s1: f64,
    pub s2: f64,
    #[serde(rename = "S1")]
    pub big_s1: f64,
    #[serde(rename = "S2")]
    pub big_s2: f64,
}

/// What a volume file or its sidecars say besides the voxels. Every field may be unknown.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct VolumeMeta {
    /// Voxel edge in µm along z, y, x.
    pub voxel_um: Option<[f64; 3]>,
    /// Origin of the first voxel in the reconstructed grid, 1-based x, y, z (PyHST2's START_VOXEL).
    pub origin_1based: Option<[usize; 3]>,
    /// Physical unit of the values (`1/cm`), empty or absent where unknown.
    pub value_unit: Option<String>,
    /// Scale of integer volumes.
    pub grey: Option<GreyScale>,
    /// Statistics as recorded by the writer; not trusted, `info --stats` recomputes them.
    pub stats: Option<VolumeStats>,
    /// Free text (ImageDescription, title).
    pub description: Option<String>,
}

/// One line of what a file says about itself, for `tomo info`: a stable key, a value, and an optional unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// Stable name, snake case (`rotation_axis_px`).
    pub key: String,
    /// Value; arrays and objects are allowed.
    pub value: serde_json::Value,
    /// Unit for print (`µm`, `deg`), if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// Facts in the order they should be printed.
#[derive(Clone, Default, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Facts(pub Vec<Fact>);

impl Facts {
    /// Appends a fact without a unit.
    pub fn add(&mut self, key: &str, value: impl Into<serde_json::Value>) {
        self.0.push(Fact { key: key.into(), value: value.into(), unit: None });
    }

    /// Appends a fact with a unit.
    pub fn add_unit(&mut self, key: &str, value: impl Into<serde_json::Value>, unit: &str) {
        self.0.push(Fact { key: key.into(), value: value.into(), unit: Some(unit.into()) });
    }

    /// Finds a value by key.
    pub fn get(&self, key: &str) -> Option<&serde_json::Value> {
        self.0.iter().find(|f| f.key == key).map(|f| &f.value)
    }
}

/// A readable stack and its metadata.
#[derive(Clone)]
pub struct Volume {
    /// The voxels.
    pub source: Arc<dyn FrameSource>,
    /// What is known about them.
    pub meta: VolumeMeta,
}
