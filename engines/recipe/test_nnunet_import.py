"""The importer on made-up results folders: what a bundle says, and what is refused by name.

Run: python -m unittest discover -s engines/recipe -p 'test_*.py'   (needs torch, onnx and onnxruntime)
"""

import copy
import io
import json
import pickle
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
try:
    import numpy as np
    import torch

    import centre
    import nnunet_import
    import nnunet_merge
    import nnunet_network
    import nnunet_plans as plans_of
    import nnunet_winograd
    import parts
except ImportError as missing:  # the exporter is optional; the daemon never needs it
    raise unittest.SkipTest(f"skipped: {missing}")

ARCH = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 2, "features_per_stage": [4, 8], "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[1, 3, 3], [3, 3, 3]], "strides": [[1, 1, 1], [1, 2, 2]], "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1], "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d", "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True}},
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]}
RESAMPLE = {"is_seg": False, "order_z": 0, "force_separate_z": None}
PLANS = {
    "dataset_name": "Dataset001_Test", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2], "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {
        "0": {"mean": 90.5, "std": 41.0, "percentile_00_5": -60.0, "percentile_99_5": 210.0}},
    "configurations": {
        "base": {"spacing": [5.0, 0.8, 0.8], "patch_size": [4, 16, 16], "normalization_schemes": ["CTNormalization"],
                 "use_mask_for_norm": [False], "preprocessor_name": "DefaultPreprocessor", "architecture": ARCH,
                 "resampling_fn_data": "resample_data_or_seg_to_shape",
                 "resampling_fn_data_kwargs": RESAMPLE | {"order": 3},
                 "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
                 "resampling_fn_probabilities_kwargs": RESAMPLE | {"order": 1}},
        "3d_fullres": {"inherits_from": "base", "batch_size": 2}}}
DATASET = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "lesion": 2}, "file_ending": ".nii.gz"}
KEEP = "remove_all_but_largest_component_from_segmentation"


class MergedUpsampling(unittest.TestCase):
    def check(self, kernel, stride, bias):
        torch.manual_seed(sum(kernel) + sum(stride))
        up = torch.nn.ConvTranspose3d(5, 4, stride, stride=stride, bias=bias)
        conv = torch.nn.Conv3d(7, 6, kernel, padding=[k // 2 for k in kernel], bias=bias)
        x, skip = torch.randn(1, 5, 3, 4, 5), torch.randn(1, 3, *(n * s for n, s in zip((3, 4, 5), stride)))
        merged = nnunet_merge.MergedUpsampling(up, conv, skip.shape[2:])
        with torch.no_grad():
            expected = conv(torch.cat([up(x), skip], 1))
            torch.testing.assert_close(merged(x, skip), expected, rtol=0, atol=2e-6)
            if bias:
                merged.constant.copy_(merged.constant.mean((2, 3, 4), keepdim=True).expand_as(merged.constant))
                self.assertGreater((merged(x, skip) - expected).abs().max().item(), 1e-3, "the border is not the middle")

    def test_it_is_the_same_map_border_included(self):
        for kernel, stride in (((3, 3, 3), (2, 2, 2)), ((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (1, 2, 2)),
                               ((3, 5, 1), (2, 3, 1)), ((3, 3, 3), (4, 2, 2))):
            for bias in (True, False):
                with self.subTest(kernel=kernel, stride=stride, bias=bias):
                    self.check(kernel, stride, bias)

    def test_whole_networks_give_the_same_logits(self):
        blocks = {"n_blocks_per_stage": [1, 1]}
        residual = {k: v for k, v in ARCH["arch_kwargs"].items() if k != "n_conv_per_stage"} | blocks
        for kind, arguments in (("PlainConvUNet", ARCH["arch_kwargs"]), ("ResidualEncoderUNet", residual)):
            torch.manual_seed(3)
            network = nnunet_network.build(kind, arguments, 2, 3)
            for layer in network.modules():
                if getattr(layer, "bias", None) is not None:
                    torch.nn.init.normal_(layer.bias, std=0.3)
            image = torch.randn(1, 2, 4, 16, 16)
            with torch.no_grad():
                merged = nnunet_merge.Merged(network, (4, 16, 16)).eval()
                torch.testing.assert_close(merged(image), network(image), rtol=0, atol=2e-5, msg=kind)


class AcrossSlices(unittest.TestCase):
    def test_the_filters_are_exact(self):
        # As polynomials: four outputs of every pair of a unit slice and a unit tap.
        rows = [np.array(rows, float) for rows in (nnunet_winograd.OUTPUT, nnunet_winograd.FILTER, nnunet_winograd.INPUT)]
        found = np.einsum("oi,ig,id->ogd", *rows)
        expected = np.array([[[float(d == o + g) for d in range(6)] for g in range(3)] for o in range(4)])
        np.testing.assert_allclose(found, expected, atol=1e-15)

    def test_it_is_the_same_map_ends_included(self):
        for stride, bias, slices in (((1, 1, 1), True, 8), ((1, 2, 2), False, 4), ((1, 1, 2), True, 12)):
            with self.subTest(stride=stride, bias=bias, slices=slices):
                torch.manual_seed(slices)
                conv = torch.nn.Conv3d(5, 6, (3, 3, 5), stride, padding=(1, 1, 2), bias=bias)
                x = torch.randn(1, 5, slices, 7, 9)
                with torch.no_grad():
                    torch.testing.assert_close(nnunet_winograd.AcrossSlices(conv)(x), conv(x), rtol=0, atol=1e-5)

    def test_only_what_gains_is_replaced(self):
        conv = lambda kernel=3, **other: torch.nn.Conv3d(64, 64, kernel, **({"padding": 1} | other))
        fits = lambda layer, slices=8: nnunet_winograd.fits(layer, slices, 64)
        self.assertTrue(fits(conv()) and fits(conv(stride=(1, 2, 2))))
        others = [conv(stride=2), conv((1, 3, 3), padding=(0, 1, 1)), conv(groups=2), conv(padding=0),
                  conv(dilation=2, padding=2), torch.nn.Conv3d(64, 63, 3, padding=1)]
        self.assertEqual([fits(other) for other in others], [False] * len(others))
        self.assertFalse(fits(conv(), 6), "slices that are no multiple of four")

    def test_whole_networks_give_the_same_logits(self):
        torch.manual_seed(5)
        network = nnunet_network.build("PlainConvUNet", ARCH["arch_kwargs"], 2, 3)
        image = torch.randn(1, 2, 4, 16, 16)
        with torch.no_grad():
            expected = network(image)
            self.assertEqual(nnunet_winograd.across_slices(network, 2, (4, 16, 16), 4), 1)
            torch.testing.assert_close(network(image), expected, rtol=0, atol=2e-5)


class Centre(unittest.TestCase):
    def test_channels_lie_around_zero_and_nothing_else_changes(self):
        for bias in (True, False):
            torch.manual_seed(6)
            network = nnunet_network.build("PlainConvUNet", ARCH["arch_kwargs"] | {"conv_bias": bias}, 2, 3)
            image = torch.randn(2, 4, 16, 16) + 3
            means = []
            with torch.no_grad():
                expected = network(image[None])
                self.assertEqual(centre.centre(network, image), 3)
                for conv in centre.pairs(network):
                    conv.register_forward_hook(lambda conv, given, made: means.append(made.mean((0, 2, 3, 4)).abs().max()))
                torch.testing.assert_close(network(image[None]), expected, rtol=0, atol=2e-5)
            self.assertEqual(len(means), 3)
            self.assertLess(max(means).item(), 1e-5)


class Parts(unittest.TestCase):
    def test_they_sum_to_the_image_and_bfloat16_keeps_them(self):
        torch.manual_seed(7)
        image = 2 * torch.randn(1, 2, 3, 8, 8)
        two = parts.of(image)
        self.assertTrue(torch.equal(two[:, :2] + two[:, 2:], image))
        rounded = two.to(torch.bfloat16).float()
        self.assertLess((rounded[:, :2] + rounded[:, 2:] - image).abs().max(), 1e-4)
        self.assertGreater((image.to(torch.bfloat16).float() - image).abs().max(), 1e-3)

    def test_every_network_takes_them(self):
        for kind in ("PlainConvUNet", "ResidualEncoderUNet"):
            torch.manual_seed(8)
            arguments = dict(ARCH["arch_kwargs"])
            if kind == "ResidualEncoderUNet":
                arguments["n_blocks_per_stage"] = arguments.pop("n_conv_per_stage")
            network = nnunet_network.build(kind, arguments, 2, 3)
            image = torch.randn(1, 2, 4, 16, 16)
            with torch.no_grad():
                expected = network(image)
                wrapped = nnunet_network.Unrounded(network, 2, (4, 16, 16))
                self.assertTrue(wrapped.split)
                torch.testing.assert_close(wrapped(image), expected, rtol=0, atol=2e-5)

    def test_a_network_that_reads_the_image_twice_is_left_alone(self):
        class Twice(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = torch.nn.Conv3d(1, 2, 1), torch.nn.Conv3d(1, 2, 1)

            def forward(self, image):
                return self.a(image) + self.b(image)

        self.assertIsNone(parts.first(Twice(), 1, (2, 4, 4)))


class Import(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.plans, self.dataset = copy.deepcopy(PLANS), copy.deepcopy(DATASET)

    def results(self, folds=2, **changes):
        results = self.folder / "results"
        for fold in range(folds):
            torch.manual_seed(fold)
            heads = len(self.dataset["labels"])
            network = nnunet_network.build("PlainConvUNet", ARCH["arch_kwargs"], 1, heads)
            (results / f"fold_{fold}").mkdir(parents=True)
            checkpoint = {"network_weights": network.state_dict(), "trainer_name": "nnUNetTrainer",
                          "init_args": {"configuration": "3d_fullres"}, "_best_ema": np.float64(0.5),
                          "inference_allowed_mirroring_axes": (0, 2)} | changes
            torch.save(checkpoint, results / f"fold_{fold}" / "checkpoint_final.pth")
        (results / "plans.json").write_text(json.dumps(self.plans))
        (results / "dataset.json").write_text(json.dumps(self.dataset))
        return results

    def run_import(self, results, *words):
        out = self.folder / "bundle"
        nnunet_import.main([str(results), "--bundle", str(out), "--id", "test", "--phases", "vp", *words])
        return json.loads((out / "manifest.json").read_text())

    def refusal(self, results, *words):
        with self.assertRaises(SystemExit) as raised:
            self.run_import(results, *words)
        self.assertEqual(list(self.folder.glob("bundle*")), [], "nothing half-written stays")
        return str(raised.exception)

    def configuration(self):
        return self.plans["configurations"]["base"]

    def test_a_manifest_says_what_plans_and_checkpoint_say(self):
        manifest = self.run_import(self.results())
        network = manifest["networks"]["segment"]
        self.assertEqual((manifest["format_version"], manifest["phases"]), (2, ["vp"]))
        self.assertEqual(manifest["fusion"], "logits")
        self.assertEqual(network["classes"], ["background", "liver", "lesion"])
        self.assertEqual((network["patch"], network["spacing_mm"]), ([4, 16, 16], [5.0, 0.8, 0.8]))
        self.assertEqual(network["normalisation"],
                         [{"scheme": "ct", "mean": 90.5, "std": 41.0, "lower": -60.0, "upper": 210.0}])
        self.assertEqual((network["mirror_axes"], network["reader"]), ([0, 2], "SimpleITKIO"))
        self.assertEqual((len(network["files"]), len(network["golden"]["expected"])), (2, 2))
        source = manifest["training"]["nnunet"]
        self.assertEqual((source["trainer"], source["configuration"], source["folds"]),
                         ("nnUNetTrainer", "3d_fullres", ["0", "1"]))
        self.assertEqual((source["opset"], source["precision"]), (17, "f32"))
        import onnx
        graph = onnx.load(self.folder / "bundle" / network["files"][0]["path"]).graph
        dims = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
        self.assertEqual((dims, len(graph.output)), ([1, 1, 4, 16, 16], 1))

    def test_merged_upsampling_is_another_graph_of_the_same_logits(self):
        import onnx
        manifest = self.run_import(self.results(1), "--merge-upsampling")
        self.assertTrue(manifest["training"]["nnunet"]["merged_upsampling"])
        nodes = [node.op_type for node in onnx.load(self.folder / "bundle" / "segment.fold-0.onnx").graph.node]
        self.assertEqual(nodes.count("Concat"), 1)  # of the image; none of skip connections
        self.assertEqual(nodes.count("ConvTranspose"), 1)

    def test_winograd_is_another_graph_of_the_same_logits(self):
        import onnx
        manifest = self.run_import(self.results(1), "--winograd", "4")
        self.assertEqual(manifest["training"]["nnunet"]["winograd"], 4)
        nodes = [node.op_type for node in onnx.load(self.folder / "bundle" / "segment.fold-0.onnx").graph.node]
        self.assertEqual(nodes.count("Conv"), 9, "one of four has become six")

    def test_winograd_without_anything_to_gain_is_refused(self):
        self.assertIn("leave it away", self.refusal(self.results(1), "--winograd"))

    def test_equal_weights_are_not_shared_between_layers(self):
        import onnx
        self.run_import(self.results(1))
        nodes = onnx.load(self.folder / "bundle" / "segment.fold-0.onnx").graph.node
        self.assertNotIn("Identity", [node.op_type for node in nodes])
        scales = [node.input[1] for node in nodes if node.op_type == "InstanceNormalization"]
        self.assertEqual(len(set(scales)), len(scales))

    def test_logits_are_not_rounded_to_the_numbers_of_the_network(self):
        import onnx
        self.run_import(self.results(1))
        *_, convolution, last = onnx.load(self.folder / "bundle" / "segment.fold-0.onnx").graph.node
        self.assertEqual((convolution.op_type, last.op_type, last.attribute[0].f), ("Conv", "LeakyRelu", 1.0))

    def test_trainers_without_mirroring_have_no_axes(self):
        manifest = self.run_import(self.results(1, inference_allowed_mirroring_axes=None))
        self.assertEqual(manifest["networks"]["segment"]["mirror_axes"], [])

    def test_fusion_of_probabilities_is_stored(self):
        manifest = self.run_import(self.results(1), "--fusion", "probabilities")
        self.assertEqual(manifest["fusion"], "probabilities")

    def test_fusion_of_probabilities_is_refused_for_regions(self):
        self.dataset |= {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]}
        self.assertIn("regions are painted from logits", self.refusal(self.results(1), "--fusion", "probabilities"))

    def test_a_golden_patch_is_the_middle_of_a_given_image(self):
        results, path = self.results(1), self.folder / "image.npy"
        image = np.random.default_rng(1).normal(size=(1, 7, 16, 21)).astype(np.float32)
        np.save(path, image)
        golden = self.run_import(results, "--golden", str(path))["networks"]["segment"]["golden"]
        stored = np.fromfile(self.folder / "bundle" / golden["input"]["path"], "<f4").reshape(1, 4, 16, 16)
        np.testing.assert_array_equal(stored, image[:, 1:5, :, 2:18])

    def test_a_golden_image_that_cannot_be_used_is_refused(self):
        results, path = self.results(1), self.folder / "image.npy"
        for image, word in ((np.zeros((1, 3, 16, 16)), "(1, 3, 16, 16)"), (np.zeros((2, 4, 16, 16)), "[1, z, y, x]"),
                            (np.full((1, 4, 16, 16), np.nan), "NaN"), (np.array([{}]), "not an array")):
            np.save(path, image)
            self.assertIn(word, self.refusal(results, "--golden", str(path)))

    def test_old_plans_give_the_same_network(self):
        config = {"UNet_class_name": "ResidualEncoderUNet", "UNet_base_num_features": 32, "unet_max_num_features": 100,
                  "n_conv_per_stage_encoder": [1, 3, 4], "n_conv_per_stage_decoder": [1, 1],
                  "pool_op_kernel_sizes": [[1, 1, 1]] * 3, "conv_kernel_sizes": [[3, 3, 3]] * 3}
        kind, arguments = plans_of.architecture(config)
        self.assertEqual(kind, "ResidualEncoderUNet")
        self.assertEqual(arguments["features_per_stage"], [32, 64, 100])
        self.assertEqual(arguments["n_blocks_per_stage"], [1, 3, 4])

    def test_what_is_not_known_is_refused_by_name(self):
        cases = [
            ("resampling_fn_data", "no_resampling_hack"), ("normalization_schemes", ["RGBTo01Normalization"]),
            ("preprocessor_name", "MyPreprocessor"), ("previous_stage", "3d_lowres"), ("patch_size", [64, 64]),
            ("resampling_fn_probabilities_kwargs", RESAMPLE | {"order": 1, "order_z": 1}),
            ("resampling_fn_data_kwargs", {"order": 3, "order_z": 0})]
        expected = ["no_resampling_hack", "RGBTo01Normalization", "MyPreprocessor", "3d_lowres", "two-dimensional",
                    "order_z=1", "force_separate_z=False"]
        for (key, value), word in zip(cases, expected):
            plans = copy.deepcopy(PLANS)
            plans["configurations"]["base"][key] = value
            with self.assertRaises(plans_of.Refused) as raised:
                plans_of.describe(plans, DATASET, "3d_fullres")
            self.assertIn(word, str(raised.exception))
        for key, value in (("image_reader_writer", "Tiff3DIO"), ("label_manager", "MyLabels")):
            with self.assertRaises(plans_of.Refused) as raised:
                plans_of.describe(PLANS | {key: value}, DATASET, "3d_fullres")
            self.assertIn(value, str(raised.exception))

    def test_another_network_is_refused_by_name(self):
        changed = copy.deepcopy(ARCH) | {"network_class_name": "mine.networks.SwinThing"}
        self.configuration()["architecture"] = changed
        self.assertIn("SwinThing", self.refusal(self.results(1)))

    def test_inheritance_is_followed_and_a_circle_refused(self):
        self.assertEqual(plans_of.configuration(PLANS, "3d_fullres")["spacing"], [5.0, 0.8, 0.8])
        plans = {"configurations": {"a": {"inherits_from": "b"}, "b": {"inherits_from": "a"}}}
        with self.assertRaisesRegex(plans_of.Refused, "circle"):
            plans_of.configuration(plans, "a")

    def test_weights_of_another_network_are_refused(self):
        results = self.results(1, network_weights={"encoder.weight": torch.zeros(2)})
        self.assertIn("do not fit", self.refusal(results))

    def test_folds_that_disagree_are_refused(self):
        results = self.results(2)
        path = results / "fold_1" / "checkpoint_final.pth"
        checkpoint = torch.load(path, weights_only=False) | {"trainer_name": "nnUNetTrainerNoMirroring"}
        torch.save(checkpoint, path)
        self.assertIn("nnUNetTrainerNoMirroring", self.refusal(results))

    def test_a_checkpoint_that_would_run_something_is_refused(self):
        results = self.results(1, extra=Path("x"))
        self.assertIn("--trust-checkpoint", self.refusal(results))

    def test_phases_must_be_as_many_as_channels(self):
        with self.assertRaisesRegex(SystemExit, "1 channels"):
            nnunet_import.main([str(self.results(1)), "--bundle", str(self.folder / "b"), "--id", "t",
                                "--phases", "nc,ap,vp,dp"])

    def test_labels_and_regions(self):
        self.assertEqual(plans_of.labels({"labels": {"b": 2, "background": 0, "a": 1, "ignore": 3}}),
                         (["background", "a", "b"], None))
        regions = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}
        self.assertEqual(plans_of.labels(regions), (["whole", "core"], [1, 2]))
        with self.assertRaisesRegex(plans_of.Refused, "without gaps"):
            plans_of.labels({"labels": {"background": 0, "a": 2}})
        with self.assertRaisesRegex(plans_of.Refused, "regions_class_order"):
            plans_of.labels(regions | {"regions_class_order": [1]})

    def test_postprocessing_is_carried_from_json_and_inert_pickle(self):
        results = self.results(2)
        steps = {"postprocessing_fns": [KEEP] * 2,
                 "postprocessing_kwargs": [{"labels_or_regions": [1, 2]}, {"labels_or_regions": 2}]}
        crossval = results / "crossval_results_folds_0_1"
        crossval.mkdir()
        (crossval / "postprocessing.json").write_text(json.dumps(steps))
        found = self.run_import(results)["networks"]["segment"]["postprocessing"]
        self.assertEqual(found, [{"keep_largest": [1, 2]}, {"keep_largest": [2]}])
        named = b"cnnunetv2.postprocessing.remove_connected_components\n" + KEEP.encode() + b"\n."
        self.assertEqual(plans_of.Inert(io.BytesIO(named)).load(), KEEP, "the name, not the function")
        path = self.folder / "postprocessing.pkl"
        path.write_bytes(pickle.dumps(([print], [{}])))
        with self.assertRaisesRegex(plans_of.Refused, "builtins.print"):
            plans_of.postprocessing(path)

    def test_postprocessing_of_other_folds_must_be_chosen(self):
        results = self.results(1)
        (results / "crossval_results_folds_0_1_2_3_4").mkdir()
        (results / "crossval_results_folds_0_1_2_3_4" / "postprocessing.json").write_text("{}")
        self.assertIn("--postprocessing", self.refusal(results))
        self.assertNotIn("postprocessing", self.run_import(results, "--postprocessing", "none")["networks"]["segment"])


if __name__ == "__main__":
    unittest.main()
