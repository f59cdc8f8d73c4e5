"""The contract checks that come with matgen, one line each."""

from matgen_anions_first import AnionsFirst, VolumePerSite

from matgen.testing import check_condition, check_ordering


def test_the_ordering_keeps_its_contract():
    check_ordering(AnionsFirst())


def test_the_condition_keeps_its_contract():
    check_condition(VolumePerSite())
