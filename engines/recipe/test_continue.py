"""What a continued training rests on: coarse rounding, the teacher's choice, plain patches, kept networks."""

import json
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

import coarse
import data
import export
import teacher
import train
from bundle_files import bundle_weights
from net import PLANS, UNet
from plain import Plain


class Rounding(unittest.TestCase):
    def test_keeps_so_many_bits_and_the_gradient(self):
        x = torch.tensor([1.0, 1.2, -1.3, 1.6, 0.0, 96.0, -100.0], requires_grad=True)
        y = coarse.Round.apply(x, 1)
        self.assertEqual(y.tolist(), [1.0, 1.0, -1.5, 1.5, 0.0, 96.0, -96.0])
        y.sum().backward()
        self.assertEqual(x.grad.tolist(), [1.0] * 7)

    def test_hooks_change_what_is_computed_but_not_at_seven_bits(self):
        torch.manual_seed(0)
        image = torch.randn(1, 1, 16, 32, 32)
        outputs = []
        for bits in (7, 2, None):
            torch.manual_seed(1)
            model = UNet(PLANS["segment"]).eval()
            if bits:
                coarse.apply(model, bits)
            with torch.no_grad():
                outputs.append(model(image))
        self.assertTrue(torch.equal(outputs[0], outputs[2]))
        self.assertFalse(torch.allclose(outputs[1], outputs[2], atol=1e-3))

    def test_of_the_image_four_bits_stay(self):
        model, met = UNet(PLANS["segment"]).eval(), []
        coarse.apply(model, 1)
        model.encoder[0].conv1.register_forward_hook(lambda _, given, __: met.append(given[0]))
        with torch.no_grad():
            model(torch.full((1, 1, 16, 32, 32), 1.7))
        self.assertAlmostEqual(float(met[0].max()), 1.6875)


class Teacher(unittest.TestCase):
    def setUp(self):
        self.codes = np.full((4, 20, 20), data.BG_OR_PORTAL, np.uint8)
        self.logits = np.zeros((14, 4, 20, 20), np.float32)

    def test_stays_within_the_set_and_drops_scraps(self):
        self.codes[:, :5] = data.LIVER_OR_VESSEL
        self.codes[:, 15:] = data.SPLEEN
        self.logits[9, :, 3:9] = 5  # portal vein across the liver's border, large
        self.logits[9, 0, 12, 12] = 5  # and one lone voxel
        self.logits[3, :, 10:12] = 5  # a lesion that no label knows
        self.logits[0, :, 15:] = 9
        hard = teacher.choose(self.codes, self.logits, (5.0, 1.5, 1.5))
        self.assertTrue((hard[:, 3:9] == data.PORTAL).all())
        self.assertTrue((hard[:, :3] == data.LIVER).all())
        self.assertTrue((hard[:, 9:15] == data.BG).all())
        self.assertTrue((hard[:, 15:] == data.SPLEEN).all())

    def test_a_lesion_grows_only_where_it_is_labelled(self):
        self.codes[:] = data.LIVER
        self.codes[1, 4:12, 4:12] = data.UNKNOWN
        self.codes[1, 6:8, 6:8] = data.META
        self.codes[3, 15:18, 15:18] = data.UNKNOWN
        self.logits[7] = 1
        self.logits[4, 1, 5:9, 5:9] = 5  # of another type: the label's type is kept
        self.logits[3, 3, 15:18, 15:18] = 5
        hard = teacher.choose(self.codes, self.logits, (5.0, 1.5, 1.5))
        self.assertEqual(int((hard == data.META).sum()), 16)
        self.assertTrue((hard[1, 5:9, 5:9] == data.META).all())
        self.assertEqual(set(np.unique(hard)), {data.BG, data.META, data.LIVER})


class PlainPatches(unittest.TestCase):
    def test_small_cases_are_padded_with_unknown(self):
        codes = np.full((10, 100, 140), data.BG, np.uint8)
        codes[4:6, 40:60, 40:60] = data.LIVER
        case = SimpleNamespace(hu=np.full(codes.shape, 100, np.int16), codes=codes, spacing=(5.0, 1.5, 1.5))
        image, drawn = Plain(case, (16, 128, 128)).draw(np.random.default_rng(0))
        self.assertEqual((image.shape, drawn.shape), ((16, 128, 128),) * 2)
        self.assertEqual(int((drawn != data.UNKNOWN).sum()), 10 * 100 * 128)


class Losses(unittest.TestCase):
    def test_the_short_formula_equals_the_one_of_sets(self):
        torch.manual_seed(0)
        logits, codes = torch.randn(1, 14, 2, 8, 8), torch.randint(0, 14, (1, 2, 8, 8))
        codes[0, 0, 0] = data.UNKNOWN
        weight = train.at_borders(codes, codes, 3.0)
        table = torch.from_numpy(data.CODES.copy())
        short = train.marginal_loss(logits, codes, table, weight)[0]
        outside = (1 - table[codes].movedim(-1, 1)) * -1e4
        marginal = torch.logsumexp(torch.log_softmax(logits, 1) + outside, 1)
        share = (codes != data.UNKNOWN) * weight
        self.assertAlmostEqual(float(short), float(-(marginal * share).sum() / share.sum()), places=5)

    def test_the_second_network_has_eight_classes_and_unknown_voxels(self):
        logits, codes = torch.zeros(1, 8, 2, 4, 4), torch.full((1, 2, 4, 4), data.UNKNOWN)
        codes[0, 0] = data.LIVER
        loss = train.marginal_loss(logits, codes, torch.from_numpy(data.CODES[:, :8].copy()), torch.ones(()))[0]
        self.assertAlmostEqual(float(loss), float(np.log(8)), places=5)

    def test_border_weight(self):
        codes = torch.zeros(1, 1, 9, 9, dtype=torch.long)
        codes[..., 5:] = 7
        self.assertEqual(train.at_borders(codes, codes, 3.0)[0, 0, 4].tolist(), [1, 1, 1, 4, 4, 4, 4, 1, 1])

    def test_borders_of_small_classes_weigh_more_labelled_or_said(self):
        codes = torch.full((1, 1, 40, 40), 7)
        codes[..., 5:7, 5:7] = 9
        said = torch.full((1, 1, 40, 40), 7)
        said[..., 30:32, 30:32] = 8
        weight = train.at_borders(codes, said, 3.0, rare=6.0)[0, 0]
        for middle in (5, 30):
            self.assertEqual(weight[middle, middle - 4 : middle + 6].tolist(), [1, 1, *[19] * 6, 1, 1])
        self.assertEqual(weight[18, 18], 1)


class Bundles(unittest.TestCase):
    demo = Path(__file__).resolve().parent.parent / "venous-demo"

    def test_a_network_comes_back_from_its_bundle(self):
        plan = PLANS["segment"]
        weights = bundle_weights(self.demo / "segment.onnx")
        model = UNet(plan)
        missing, unexpected = model.load_state_dict(weights, strict=False)
        self.assertFalse(unexpected)
        self.assertTrue(all(name.startswith("aux.") for name in missing), missing)

    def test_a_kept_network_is_the_same_bytes_and_a_damaged_one_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            bundle = Path(folder)
            entry, _ = export.kept_network("reclassify", self.demo, bundle)
            manifest = json.loads((self.demo / "manifest.json").read_text())
            self.assertEqual(entry, manifest["networks"]["reclassify"])
            (bundle / "manifest.json").write_text(json.dumps(manifest))
            (bundle / "reclassify.onnx").write_bytes(b"short")
            with self.assertRaises(SystemExit):
                export.kept_network("reclassify", bundle, bundle)

    def test_convolutions_are_rounded_to_the_grid_and_normalisation_is_not(self):
        names = ("head.weight", "head.bias", "encoder.0.norm1.weight")
        weights = export.on_bfloat16_grid({name: torch.tensor([1.003]) for name in names})
        self.assertEqual([float(weights[name]) for name in names[:2]], [1.0, 1.0])
        self.assertAlmostEqual(float(weights[names[2]]), 1.003, places=6)


if __name__ == "__main__":
    unittest.main()
