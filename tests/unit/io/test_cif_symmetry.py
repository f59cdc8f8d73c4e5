import numpy as np
import pytest
from pymatgen.core.operations import SymmOp
from pymatgen.symmetry.groups import SpaceGroup

from matgen.errors import BadCrystal
from matgen.io.cif_symmetry import read_operations, tabulated_operations


@pytest.mark.parametrize("number", range(1, 231))
def test_operations_of_every_space_group_are_read_as_pymatgen_writes_them(number):
    operations = list(SpaceGroup.from_int_number(number).symmetry_ops)
    rotations, shifts = read_operations(tuple(op.as_xyz_str() for op in operations))
    for operation, rotation, shift in zip(operations, rotations, shifts, strict=True):
        np.testing.assert_array_equal(rotation, operation.rotation_matrix)
        # Thirds are written as fractions: exact to the last digit but one.
        np.testing.assert_allclose(shift, operation.translation_vector, atol=1e-12)


@pytest.mark.parametrize(
    "text",
    ["x,y,z", " -X , Y+1/2, 1/2-z ", "+x-y, x, z+.25", "0.5+x,0.333333-y,-z", "x-y,-y,-z+2/3"],
)
def test_an_operation_is_read_as_pymatgen_reads_it(text):
    expected = SymmOp.from_xyz_str(text.strip().lower().replace(" ", ""))
    rotations, shifts = read_operations((text,))
    np.testing.assert_allclose(rotations[0], expected.rotation_matrix)
    np.testing.assert_allclose(shifts[0], expected.translation_vector)


@pytest.mark.parametrize(
    "text", ["", "x,y", "x,y,z,x", "x,y,y", "2x,y,z", "x,y,w", "x y,y,z", "x,y,z+1/0", "x,y,1", "+"]
)
def test_what_is_no_operation_is_refused(text):
    with pytest.raises(BadCrystal, match="cannot be read"):
        read_operations((text,))


def test_a_group_is_found_by_its_name_first_and_then_by_its_number():
    for name, number, order in (("F m -3 m", "1", 192), ("", "225", 192), ("Pnma", "", 8)):
        rotations, _ = tabulated_operations(name, number)
        assert len(rotations) == order
    with pytest.raises(BadCrystal, match="unknown"):
        tabulated_operations("", "231")
