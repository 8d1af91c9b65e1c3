"""Tests that failed when this list was written and are not mended yet.

They run, and do not fail the suite; one that passes shows as XPASS and leaves the list.
Most are of three kinds: entries on sizes that no sample draws, cases at the edge of the
numeric criterion, and programs outside a rule that ExecuTorch refuses.
"""

KNOWN_FAILURES = frozenset(
    {
        "tests/e2e/test_models.py::test_runtime_equals_interpreter[llama-bfloat16]",
        "tests/op_conformance/test_dynamic.py::test_program_is_right_at_other_sizes[aten.cumsum.default..aten.acos.default]",
        "tests/op_conformance/test_inside.py::test_implementation_gives_torchs_results[aten._native_batch_norm_legit_no_training.default-float32]",
        "tests/op_conformance/test_inside.py::test_implementation_gives_torchs_results[aten.group_norm.default-bfloat16]",
        "tests/op_conformance/test_inside.py::test_implementation_gives_torchs_results[aten.linear.default-bfloat16]",
        "tests/op_conformance/test_inside.py::test_implementation_gives_torchs_results[aten.prod.default-float16]",
        "tests/op_conformance/test_inside.py::test_implementation_gives_torchs_results[aten.var.correction-float32]",
        "tests/op_conformance/test_lowered.py::test_lowered_program_gives_the_implementations_results[aten.clone.default-int32..aten.view.dtype-int8]",
        "tests/op_conformance/test_meta.py::test_every_entry_has_samples_and_dtypes[aten._local_scalar_dense.default]",
        "tests/op_conformance/test_meta.py::test_every_entry_has_samples_and_dtypes[aten.empty.memory_format]",
        "tests/op_conformance/test_meta.py::test_every_entry_has_samples_and_dtypes[aten.empty_strided.default]",
        "tests/op_conformance/test_meta.py::test_every_entry_has_samples_and_dtypes[aten.sym_numel.default]",
        "tests/op_conformance/test_meta.py::test_every_entry_has_samples_and_dtypes[aten.sym_size.int]",
        "tests/op_conformance/test_meta.py::test_every_entry_has_samples_and_dtypes[operator.add]",
        "tests/op_conformance/test_meta.py::test_every_entry_has_samples_and_dtypes[operator.floordiv]",
        "tests/op_conformance/test_meta.py::test_every_entry_has_samples_and_dtypes[operator.mod]",
        "tests/op_conformance/test_meta.py::test_every_entry_has_samples_and_dtypes[operator.mul]",
        "tests/op_conformance/test_meta.py::test_every_entry_has_samples_and_dtypes[operator.neg]",
        "tests/op_conformance/test_meta.py::test_every_entry_has_samples_and_dtypes[operator.pow]",
        "tests/op_conformance/test_meta.py::test_every_entry_has_samples_and_dtypes[operator.sub]",
        "tests/op_conformance/test_meta.py::test_every_entry_has_samples_and_dtypes[torch.sym_max]",
        "tests/op_conformance/test_meta.py::test_every_entry_has_samples_and_dtypes[torch.sym_min]",
        "tests/op_conformance/test_outside.py::test_program_outside_runs_by_fallback[aten.ceil.default-Dtype-self..aten.upsample_nearest2d.default-Rank-self]",
        "tests/op_conformance/test_outside.py::test_program_outside_runs_by_fallback[aten.scaled_dot_product_attention.default-OneOf-dropout_p..aten.add.Scalar-Dtype-self]",
    }
)
