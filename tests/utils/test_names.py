"""Names and colours that nothing else has."""

from napari_ldseg.utils.colours import class_colour
from napari_ldseg.utils.names import free_name


def test_a_taken_name_gets_the_first_free_number():
    assert free_name("scan", {"scan-2"}.__contains__) == "scan"
    assert free_name("scan", {"scan", "scan-2"}.__contains__) == "scan-3"
    assert free_name("{scan}", {"{scan}"}.__contains__, "{} ({})") == "{scan} (2)"


def test_every_class_has_a_colour_of_its_own():
    assert len({class_colour(value) for value in range(256)}) == 256
    assert class_colour(0) == "#000000" and class_colour(1) == "#e69f00"
