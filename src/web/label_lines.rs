//! What is told of cases, labels and edits: lines of lists, and labels at an editor.
//!
//! Owns the wire's words for them. Refuses to change anything.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::editors::told;
use super::problem::Problem;
use hepalert_labels::cases::given::{Given, Known, Senses, Value as OfFile};
use hepalert_labels::cases::stored::{last_edit, reader_names};
use hepalert_labels::cases::{
    Case, CaseError, Folder, ImageFile, LabelEditor, Meaning, Reader, Saved,
};
use hepalert_labels::labelling::Labelling;
use hepalert_labels::regions::{Region, RegionVoxels, neighbours};

/// A region that is larger than an edit by more than this was there before.
const MOSTLY_NEW: usize = 20;
/// Most regions sent.
const MAX_REGIONS: usize = 500;

/// A case in the list, and on its page.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CaseLine {
    /// Its name.
    id: String,
    /// Its images.
    images: Vec<ImageLine>,
    /// Labels that came with it.
    labels: Vec<String>,
    /// Who has labelled it.
    readers: Vec<String>,
    /// When it was last edited.
    #[schemars(with = "Option<String>")]
    edited: Option<Timestamp>,
    /// How much readers and network disagree about it.
    disagreement: Option<f64>,
    /// The report of an analysis, on its page alone.
    pub report: Option<Value>,
}

/// An image of a case.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ImageLine {
    /// Its name.
    name: String,
    /// Its phase, where the name tells it.
    phase: Option<String>,
    /// Voxels along x, y, z as stored.
    shape: [usize; 3],
    /// Whether it is a DICOM series: its labels can be had as DICOM SEG.
    is_dicom: bool,
    /// InstanceNumber by slice from the feet, where known; else empty.
    instances: Vec<Option<i64>>,
}

/// Labels as they are at an editor.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct EditorState {
    /// The reader.
    reader: String,
    /// What the next edit is made on.
    revision: String,
    /// Edits that can be undone, and redone.
    steps: [usize; 2],
    /// Voxels along x, y, z in RAS order.
    shape: [usize; 3],
    /// Names the grid.
    grid: String,
    /// The regions, by label and size.
    regions: Vec<RegionLine>,
    /// What label values mean here: value and name.
    names: Vec<(u8, String)>,
    /// Whether they mean what they mean everywhere in this program.
    is_house: bool,
    /// What is known of labels that came with the case.
    pub given: Option<GivenLine>,
}

/// A region.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RegionLine {
    label: u8,
    /// A voxel in it, z, y, x: its name in operations.
    at: [usize; 3],
    /// First voxel of its box, z, y, x.
    lo: [usize; 3],
    /// First voxel after it.
    hi: [usize; 3],
    voxels: usize,
    volume_cm3: f64,
    centre_ras_mm: [f64; 3],
    /// A voxel in the axial slice with most of it, z, y, x.
    key: [usize; 3],
}

/// A map that came with a case: its values, and how they are known.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct GivenLine {
    /// Its name within the case.
    name: String,
    /// `as_here`, `by_name`, `said` or `not`.
    known: &'static str,
    /// The values of the file.
    values: Vec<ValueLine>,
    /// The labels that a value can mean: value and name.
    choices: Vec<(u8, String)>,
}

/// A value of the file.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ValueLine {
    value: u8,
    volume_cm3: f64,
    /// The label that it means; 0 if it is left out; none where nobody has said.
    means: Option<u8>,
}

/// An edit that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Made {
    /// What the next edit is made on.
    revision: String,
    /// Edits that can be undone, and redone.
    steps: [usize; 2],
    /// What changed, three numbers a run: first voxel, how many, their label.
    runs: Vec<u32>,
    /// The regions now.
    regions: Vec<RegionLine>,
    /// The region that it made or changed: a voxel by which the list names it.
    touched: Option<[usize; 3]>,
}

/// A case as the list has it.
///
/// # Errors
/// [`Problem`] if who labelled it cannot be read.
pub(super) fn line(
    folder: &Folder,
    case: &Case,
    disagreement: Option<f64>,
) -> Result<CaseLine, Problem> {
    let image = |image: &ImageFile| {
        let [z, y, x] = image.grid.shape();
        let phase = image.phase.map(|phase| phase.code().to_owned());
        ImageLine {
            name: image.name.clone(),
            phase,
            shape: [x, y, z],
            is_dicom: image.is_dicom(),
            instances: image.instances().to_vec(),
        }
    };
    let mut readers: BTreeSet<Reader> = BTreeSet::new();
    for image in &case.images {
        readers.extend(reader_names(folder, case, image).map_err(told)?);
    }
    Ok(CaseLine {
        id: case.id.clone(),
        images: case.images.iter().map(image).collect(),
        labels: case.labels.iter().map(|labels| labels.name.clone()).collect(),
        readers: readers.iter().map(ToString::to_string).collect(),
        edited: last_edit(folder, case).map_err(told)?,
        disagreement,
        report: None,
    })
}

fn region(found: &Region) -> RegionLine {
    RegionLine {
        label: found.label,
        at: found.at,
        lo: found.lo,
        hi: found.hi,
        voxels: found.voxels,
        volume_cm3: found.volume_cm3,
        centre_ras_mm: found.centre_ras_mm,
        key: found.key,
    }
}

/// In the order of their labels: of this program's lesions come first.
fn regions(labelling: &Labelling) -> Vec<RegionLine> {
    labelling.regions().regions.iter().take(MAX_REGIONS).map(region).collect()
}

/// The region that an edit made or changed. A cut, an eraser and a deletion give voxels back to what lies
/// around, which is not what was worked on. Of the region that took the longest row and of the one that gave
/// it and still lies beside, it is the one that gave where the other's label is what it lies in, and else the
/// smaller one; and none where that row is a crumb of all that took it.
fn touched(labelling: &Labelling, saved: &Saved) -> Option<[usize; 3]> {
    let map = labelling.map();
    let [_, height, width] = map.grid().shape();
    let longest = saved.change.runs().iter().max_by_key(|run| (run.length, Reverse(run.start)))?;
    let place = |at: usize| [at / width / height, at / width % height, at % width];
    let row = (longest.start as usize..).take(longest.length as usize).map(place);
    let gave = row
        .flat_map(neighbours)
        .find(|at| longest.before != 0 && map.voxels().get(*at) == Some(&longest.before));
    let held = |at: [usize; 3]| RegionVoxels::at(map, at).ok();
    let took = held(place(longest.start as usize))
        .filter(|took| longest.before == 0 || took.voxels() < saved.change.voxels() * MOSTLY_NEW);
    let gave = gave.and_then(held);
    if let (Some(took), Some(gave)) = (&took, &gave)
        && took.label == gave.surroundings(map)
    {
        return Some(gave.first());
    }
    [took, gave].into_iter().flatten().min_by_key(RegionVoxels::voxels).map(|held| held.first())
}

/// Labels to look at or to correct.
pub(super) fn editor_state(
    labelling: &Labelling,
    meaning: &Meaning,
    reader: String,
    revision: &str,
) -> EditorState {
    let [z, y, x] = labelling.map().grid().shape();
    let names = meaning.names().iter().map(|(label, name)| (*label, name.clone()));
    EditorState {
        reader,
        revision: revision.to_owned(),
        steps: labelling.steps(),
        shape: [x, y, z],
        grid: labelling.grid_name(),
        regions: regions(labelling),
        names: names.collect(),
        is_house: meaning.is_house(),
        given: None,
    }
}

/// What is seen of a map that came with a case.
pub(super) struct Seen {
    /// Its voxels.
    pub labelling: Labelling,
    /// What they mean: labels of the folder, or nothing but values.
    pub meaning: Meaning,
    /// What is told of it.
    pub line: GivenLine,
}

/// Reads a map that came with a case, for whoever looks at it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn seen_of(
    senses: &Senses,
    case: &Case,
    image: &ImageFile,
    name: &str,
) -> Result<Seen, CaseError> {
    let Given { map, known, values } = senses.look(case.labels(name)?)?;
    let voxel_cm3 = map.grid().voxel_cm3();
    let folder = senses.meaning();
    let meaning = match known {
        Known::Not => Meaning::of_values(values.iter().map(|one| one.value), name),
        Known::AsHere | Known::ByName | Known::Said => folder.clone(),
    };
    let line = |one: &OfFile| ValueLine {
        value: one.value,
        volume_cm3: one.voxels as f64 * voxel_cm3,
        means: one.means,
    };
    let choices = folder.names().iter().filter(|(label, _)| **label != 0);
    let line = GivenLine {
        name: name.to_owned(),
        known: match known {
            Known::AsHere => "as_here",
            Known::ByName => "by_name",
            Known::Said => "said",
            Known::Not => "not",
        },
        values: values.iter().map(line).collect(),
        choices: choices.map(|(label, name)| (*label, name.clone())).collect(),
    };
    Ok(Seen { labelling: Labelling::on(&image.grid, map)?, meaning, line })
}

/// What an edit changed; nothing where there was nothing to undo or redo.
pub(super) fn made(editor: &LabelEditor, saved: Option<&Saved>) -> Made {
    let stretches = saved.map(|saved| saved.change.stretches()).unwrap_or_default();
    let run = |run: &hepalert_labels::Stretch| [run.start, run.length, u32::from(run.label)];
    Made {
        revision: editor.revision().to_owned(),
        steps: editor.labelling().steps(),
        runs: stretches.iter().flat_map(run).collect(),
        regions: regions(editor.labelling()),
        touched: saved.and_then(|saved| touched(editor.labelling(), saved)),
    }
}

#[cfg(test)]
mod tests {
    use hepalert_labels::{Context, Operation};
    use hepalert_voxels::volume::Grid;
    use ndarray::{Array3, s};

    use super::*;

    /// The label of the region that an edit on a lesion in a liver touched.
    fn label_of(labelling: &mut Labelling, operation: &Operation) -> Option<u8> {
        let change = labelling.apply(operation, Context::default()).unwrap();
        let saved = Saved { change, revision: String::new(), steps: [1, 0] };
        touched(labelling, &saved).map(|at| labelling.map().voxels()[at])
    }

    #[test]
    fn a_cut_and_a_deletion_never_choose_the_liver_around() {
        let grid = std::sync::Arc::new(Grid::axial([3, 30, 40], [1.0; 3], [0.0; 3]));
        let mut labelling = Labelling::empty(&grid);
        let mut voxels = Array3::from_elem([3, 30, 40], 7_u8);
        voxels.slice_mut(s![1, 10..20, 10..30]).fill(2);
        labelling.put(voxels);
        let cut = Operation::SplitPlane {
            at: [1, 15, 12],
            point_ras_mm: grid.ras_mm([1.0, 15.0, 20.0]),
            normal: [1.0, 0.0, 0.0],
            label: 2,
        };
        assert_eq!(label_of(&mut labelling, &cut), Some(2));
        let change = labelling.undo().and_then(|_| labelling.redo()).unwrap();
        let again = Saved { change, revision: String::new(), steps: [1, 0] };
        let at = touched(&labelling, &again).unwrap();
        assert_eq!(labelling.map().voxels()[at], 2, "nor does the same done again");
        let stroke = |label| Operation::Paint { runs: vec![[1, 5, 5, 8]], label, over: None };
        assert_eq!(label_of(&mut labelling, &stroke(3)), Some(3));
        let relabel = Operation::Relabel { at: [1, 5, 5], label: 1 };
        assert_eq!(label_of(&mut labelling, &relabel), Some(1));
        let delete = Operation::Delete { at: [1, 5, 5], becomes: None };
        assert_eq!(label_of(&mut labelling, &delete), None);
        // From the edge, and a hole in the middle, which is a liver of its own.
        for runs in [vec![[1, 12, 8, 6]], vec![[1, 15, 24, 3]]] {
            let erase = Operation::Paint { runs, label: 0, over: None };
            assert_eq!(label_of(&mut labelling, &erase), Some(2));
        }
    }
}
