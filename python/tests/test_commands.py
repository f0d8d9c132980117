"""Every command on a synthetic patient, as a notebook would call it."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np

import hepalert

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "tests" / "data" / "reclassify" / "bundle"


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.patient = Path(cls.scratch.name) / "patient"
        words = ["phantom", "--seed", "3", "--pixels", "64", "--malignant", "--out", str(cls.patient)]
        subprocess.run([hepalert.program(), *words], check=True, capture_output=True)
        cls.truth = hepalert.Image.read(cls.patient / "truth.nii.gz")

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def test_an_image_is_written_as_it_was_read(self):
        ct = hepalert.Image.read(self.patient / "ct.nii.gz")
        self.assertEqual(ct.array.ndim, 3)
        copy = self.patient / "copy.nii.gz"
        ct.write(copy)
        again = hepalert.Image.read(copy)
        np.testing.assert_array_equal(ct.array, again.array)
        np.testing.assert_allclose(ct.affine, again.affine)
        self.assertEqual(ct.spacing_mm, again.spacing_mm)

    def test_segment_takes_paths_arrays_and_folders_alike(self):
        by_path = hepalert.segment(self.patient / "ct.nii.gz", engine=ENGINE, margin=True)
        ct = hepalert.Image.read(self.patient / "ct.nii.gz")
        by_array = hepalert.segment(phases={"vp": ct}, engine=ENGINE)
        by_folder = hepalert.segment(self.patient / "dicom", engine=ENGINE)
        self.assertEqual(by_path.labels.array.shape, ct.array.shape)
        self.assertEqual(by_path.margin.array.dtype, np.float32)
        np.testing.assert_array_equal(by_path.labels.array, by_array.labels.array)
        np.testing.assert_array_equal(by_path.labels.array, by_folder.labels.array)
        self.assertEqual(sum(by_path.voxels.values()), ct.array.size)

    def test_detect_numbers_every_lesion(self):
        found = hepalert.detect(self.truth)
        self.assertGreater(len(found.lesions), 0)
        for lesion in found.lesions:
            self.assertEqual(lesion.voxels, int((found.numbers.array == lesion.id).sum()))
            self.assertAlmostEqual(lesion.volume_cm3, lesion.voxels * np.prod(self.truth.spacing_mm) / 1000)

    def test_match_of_the_truth_with_itself_misses_nothing(self):
        against = hepalert.match(self.truth, self.patient / "truth.nii.gz")
        self.assertEqual(against.strict["malignant"]["fn"], 0)
        self.assertGreater(against.strict["malignant"]["tp"], 0)

    def test_evaluate_tells_dice_per_case(self):
        folder = self.patient / "truths"
        folder.mkdir(exist_ok=True)
        self.truth.write(folder / "a.nii.gz")
        told = hepalert.evaluate(folder, folder)
        self.assertEqual(told.tables["cases"], 1)
        self.assertEqual([(line["case"], float(line["dice"])) for line in told.cases], [("a", 1.0)])

    def test_register_brings_a_shifted_image_back(self):
        ct = hepalert.Image.read(self.patient / "ct.nii.gz")
        moved = ct.affine.copy()
        moved[0, 3] += 6.0
        shifted = hepalert.Image(ct.array, moved)
        done = hepalert.register(ct, shifted, labels=hepalert.Image(self.truth.array, moved),
                                 points=[[0.0, 0.0, float(ct.affine[2, 3]) + 60.0]], field=True, rigid=True)
        self.assertEqual(done.image.array.shape, ct.array.shape)
        self.assertEqual(done.field.array.shape, (3, *ct.array.shape))
        self.assertEqual(done.points.shape, (1, 3))
        self.assertAlmostEqual(done.points[0, 0], 6.0, delta=2.0)
        liver = self.truth.array > 0
        both = (done.labels.array > 0) & liver
        self.assertGreater(both.sum() / liver.sum(), 0.8)

    def test_analyze_reports_and_a_refusal_has_its_code(self):
        done = hepalert.analyze(self.patient / "ct.nii.gz", engine=ENGINE)
        self.assertIn(done.report["verdict"], ("suspected", "not_suspected", "uncertain"))
        self.assertEqual(int(done.lesions.array.max()), len(done.report["lesions"]))
        with self.assertRaises(hepalert.Refused) as refused:
            hepalert.segment(self.patient / "nowhere.nii.gz", engine=ENGINE)
        self.assertEqual(refused.exception.code, "unreadable")
        with self.assertRaises(hepalert.Failed) as failed:
            hepalert.segment(self.patient / "ct.nii.gz", engine=self.patient)
        self.assertEqual(failed.exception.error, "engine")

    def test_analyze_refuses_several_studies_before_any_is_computed(self):
        cohort = self.patient / "cohort"
        cohort.mkdir(exist_ok=True)
        ct = hepalert.Image.read(self.patient / "ct.nii.gz")
        for name in ("a", "b"):
            ct.write(cohort / f"{name}.nii.gz")
            ct.array[0] += 1
        with self.assertRaisesRegex(hepalert.Failed, "holds 2 studies") as failed:
            hepalert.analyze(cohort, engine=ENGINE, out=self.patient / "result")
        self.assertEqual(failed.exception.error, "usage")
        self.assertFalse((self.patient / "result").exists())

    def test_evaluate_leaves_out_or_counts_what_has_no_prediction(self):
        truths, predicted = self.patient / "all", self.patient / "some"
        for folder, names in ((truths, "ab"), (predicted, "a")):
            folder.mkdir(exist_ok=True)
            for name in names:
                self.truth.write(folder / f"{name}.nii.gz")
        with self.assertRaises(hepalert.Refused) as refused:
            hepalert.evaluate(truths, predicted)
        self.assertEqual(refused.exception.code, "no_prediction")
        self.assertEqual(hepalert.evaluate(truths, predicted, missing="leave-out").tables["left_out"], ["b"])
        self.assertEqual(hepalert.evaluate(truths, predicted, missing="count-missed").tables["missed"], ["b"])

    def test_a_program_that_is_not_there_or_none_is_told(self):
        before = os.environ.get("HEPALERT")
        no_program = self.patient / "hepalert.txt"
        no_program.write_text("no program")
        runs = self.patient / "runs.txt"
        runs.write_text("no program")
        runs.chmod(0o755)
        try:
            for named in ("/nowhere/hepalert", no_program, runs, "/bin/false"):
                os.environ["HEPALERT"] = str(named)
                with self.assertRaisesRegex(hepalert.Failed, "HEPALERT"):
                    hepalert.version()
            os.environ["HEPALERT"] = str(no_program)
            with self.assertRaisesRegex(hepalert.Failed, "cannot be run"):
                hepalert.detect(self.truth)
        finally:
            os.environ.pop("HEPALERT") if before is None else os.environ.update(HEPALERT=before)


if __name__ == "__main__":
    unittest.main()
