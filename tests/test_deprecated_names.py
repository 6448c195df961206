"""Names of version 0.1 are found where they were, with a warning that says where they are."""

import importlib
import warnings

import pytest

from escnn_soft._moved import MOVED

NAMES = {
    "escnn_soft": (
        "AliasedBasisError ArgumentError BasisFilterError Budget Certificate CosineSchedule Cutoff DtypeError "
        "EmptyBasisError EscnnSoftError Exponential FieldTypeError GSpaceError GridActionError GridBreak "
        "LayerStatus Learned Level LevelEnergy LinearSchedule MatrixCertificate MatrixElement MatrixGate "
        "MatrixGroup MatrixRepresentation MissingPackageError NetworkCertificate PixelErrors Policy Position "
        "ProjectedLayer RepresentationError ShapeError SoftFilter SoftKernelBasis SoftLinear "
        "SoftMatrixBilinear SoftMatrixLinear SoftR2Conv SoftR2ConvTransposed SoftR2PointConv SoftR3Conv "
        "SoftR3ConvTransposed SoftR3IcoConv SoftR3IcoConvTransposed SoftR3PointConv SoftStatus "
        "SoftTensorProduct SoftnessError SoftnessScheduler Term TokenShifts TokenTable Unreachable "
        "WeightSpectrum bake budget centre_strides certificate certify equivariant_maps escnn_matrix_group "
        "escnn_matrix_representation harden lorentz_group orthogonal_group permutation_group "
        "project_after_step projected proper_lorentz_group register_action register_lipschitz "
        "register_positions register_soft restrict scalar set_softness soft_status soften "
        "special_orthogonal_group special_unitary_group symplectic_group vector"
    ),
    "escnn_soft.nn": (
        "FieldTypes MatrixGate SoftConvolution SoftFilter SoftLayer SoftLinear SoftMatrixBilinear "
        "SoftMatrixLinear SoftPointConvolution SoftR2Conv SoftR2ConvTransposed SoftR2PointConv SoftR3Conv "
        "SoftR3ConvTransposed SoftR3IcoConv SoftR3IcoConvTransposed SoftR3PointConv SoftTensorProduct "
        "SoftnessScheduler graded_bias graded_kernel weight_filter"
    ),
    "escnn_soft.policies": (
        "DIAL_TOLERANCE Budget CosineSchedule Cutoff Exponential Learned LinearSchedule Policy Schedule as_policy"
    ),
    "escnn_soft.spectrum": (
        "Chain FibreGroup Generators Graded GradedPermutation GradedPixels GradedRings GradedShifts "
        "GradedWeight Grid Harmonic IrrepGrams IrrepId Level LevelEnergy MatrixElement MatrixField "
        "MatrixGroup MatrixRepresentation PlanarGroup RingFunctions RotaryChannels RotaryTable "
        "SignedPermutations SoftKernelBasis SpatialFunction SpectralGraded SubgroupId TokenShifts TokenTable "
        "VertexShell WeightSpectrum WeightTransform act act_on_fibres act_on_rows continuous_transform "
        "equivariant_maps escnn_matrix_group escnn_matrix_representation fibre_group fibre_transform "
        "graded_permutation graded_rings graded_shifts grid_action grid_exact kernel_transform lorentz_group "
        "matrix_transform moves_pixels orthogonal_group permutation_group pixel_elements pixel_permutation "
        "proper_lorentz_group restricted_type ring_functions scalar special_orthogonal_group "
        "special_unitary_group stored_axes subgroup_chain symplectic_group token_maps token_permutations "
        "token_spectrum vector without_band_limit"
    ),
    "escnn_soft.training": ("ProjectedLayer project_after_step projected"),
}
PAIRS = [(package, name) for package, names in NAMES.items() for name in names.split()]


@pytest.mark.parametrize(("package", "name"), PAIRS)
def test_every_old_name_resolves_to_the_same_object(package, name) -> None:
    module = importlib.import_module(package)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = getattr(module, name)
    if name not in MOVED.get(package, {}):
        assert name in module.__all__
        assert not caught
        return
    (warning,) = caught
    assert warning.category is DeprecationWarning
    assert warning.filename == __file__
    _, there, _, place = str(warning.message).rsplit(" ", 3)
    room = importlib.import_module(place)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert getattr(room, there) is found
    assert there in room.__all__


@pytest.mark.parametrize("package", MOVED)
def test_every_name_is_listed_and_no_other_resolves(package) -> None:
    module = importlib.import_module(package)
    assert set(MOVED[package]) == set(NAMES[package].split()) - set(getattr(module, "__all__", ()))
    assert set(MOVED[package]) <= set(dir(module))
    with pytest.raises(AttributeError, match=rf"module '{package}' has no attribute 'nonsense'"):
        _ = module.nonsense


def test_importing_a_name_warns_where_it_is_imported() -> None:
    with pytest.warns(DeprecationWarning, match=r"import vector from escnn_soft\.groups$") as caught:
        exec("from escnn_soft import vector")
    assert {warning.filename for warning in caught} == {"<string>"}
