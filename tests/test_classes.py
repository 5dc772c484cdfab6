"""The class scheme: edits return new schemes, and wrong values are refused."""

from __future__ import annotations

import random
from dataclasses import FrozenInstanceError

import pytest

from napari_kmeans.classes import MAX_NAME, ClassScheme, ColorClass, clean_name


@pytest.fixture
def scheme():
    return ClassScheme.of_centers(4)


def groups_of(scheme):
    """Return the centers of each label."""
    return {each.label: each.centers for each in scheme}


def test_new_scheme_has_a_class_for_each_center(scheme):
    assert groups_of(scheme) == {1: (0,), 2: (1,), 3: (2,), 4: (3,)}
    assert {(each.name, each.color, each.ignored) for each in scheme} == {("", None, False)}
    assert scheme.center_labels.tolist() == [1, 2, 3, 4]
    assert (len(scheme), scheme.n_centers, scheme.is_unedited) == (4, 4, True)
    assert repr(scheme.merge([1, 2])) == "ClassScheme(3 classes of 4 centers)"


def test_edits_return_new_schemes(scheme):
    edits = [
        scheme.merge([3, 1]),
        scheme.rename(2, "soil"),
        scheme.recolor(2, "#FF0080"),
        scheme.ignore(2),
        scheme.renumber({2: 9}),
    ]
    assert scheme == ClassScheme.of_centers(4)
    assert not any(edit.is_unedited for edit in edits)
    assert edits[1][2] == ColorClass(2, (1,), name="soil")
    assert edits[2][2] == ColorClass(2, (1,), color="#ff0080")
    assert edits[3][2] == ColorClass(2, (1,), ignored=True)
    assert edits[1].rename(2, "") == edits[2].recolor(2, None) == edits[3].ignore(2, False)
    assert edits[1].rename(2, "") == scheme
    with pytest.raises(FrozenInstanceError):
        scheme.classes = ()


def test_merged_class_keeps_label_color_and_ignored_of_the_first(scheme):
    named = scheme.rename(3, "soil").rename(1, "rock").rename(2, "soil")
    merged = named.recolor(3, "#102030").ignore(3).recolor(1, "#ffffff").merge([3, 1, 2, 1])
    assert groups_of(merged) == {3: (0, 1, 2), 4: (3,)}
    assert merged[3] == ColorClass(3, (0, 1, 2), "soil + rock", "#102030", True)
    assert merged.center_labels.tolist() == [3, 3, 3, 4]


def test_several_groups_are_merged_at_once(scheme):
    assert scheme.merge([4, 1], [2, 3]) == scheme.merge([4, 1]).merge([2, 3])
    assert scheme.merge() == scheme


def test_names_of_merged_classes_are_shortened(scheme):
    long = scheme.rename(1, "a" * MAX_NAME).rename(2, "b").merge([2, 1])
    assert long[2].name == "b + " + "a" * (MAX_NAME - 5) + "…"


def test_split_gives_the_centers_their_labels_back(scheme):
    merged = scheme.merge([2, 1, 4]).rename(2, "soil").recolor(2, "#102030")
    assert merged.split(2) == scheme
    assert scheme.merge([2, 1], [4, 3]).split(4) == scheme.merge([2, 1])


def test_one_part_of_a_split_class_keeps_its_label(scheme):
    ignored = scheme.renumber({1: 7}).merge([7, 3]).ignore(7).split(7)
    assert groups_of(ignored) == {2: (1,), 3: (2,), 4: (3,), 7: (0,)}
    assert ignored.ignored.tolist() == [False, True, False, True]
    renumbered = scheme.merge([1, 2]).renumber({4: 2}).merge([2, 3]).split(2)
    assert groups_of(renumbered) == {1: (0, 1), 2: (2,), 4: (3,)}
    renumbered = scheme.merge([1, 2]).renumber({1: 3, 3: 1, 4: 2}).split(3)
    assert groups_of(renumbered) == {1: (2,), 2: (3,), 3: (0,), 4: (1,)}


def test_renumber_swaps_labels(scheme):
    swapped = scheme.rename(1, "dark").renumber({1: 4, 4: 1})
    assert swapped.labels == (1, 2, 3, 4)
    assert swapped.center_labels.tolist() == [4, 2, 3, 1]
    assert swapped[4].name == "dark"


def test_any_text_can_be_made_a_name(scheme):
    """A no-break space and the joiner in an emoji are part of a name."""
    name = "sol\u00a0sec \N{WOMAN}\u200d\N{MICROSCOPE}"
    assert clean_name(name) == scheme.rename(1, name)[1].name == name
    assert clean_name("a\r\nb\ud800\x85c") == "a b c"
    assert clean_name("x" * 300) == "x" * (MAX_NAME - 1) + "…"


def test_scheme_of_labels_groups_the_centers():
    assert groups_of(ClassScheme.of_labels([2, 1, 2, 5])) == {1: (1,), 2: (0, 2), 5: (3,)}


def test_plain_values_give_the_same_scheme(scheme):
    edited = scheme.merge([4, 2]).rename(4, "Wald, Wiese \N{DECIDUOUS TREE}").ignore(1)
    again = ClassScheme.from_list(edited.to_list())
    assert again == edited
    assert hash(again) == hash(edited)


def test_random_edits_keep_every_center_in_one_class():
    """Compare with a plain dictionary from center to label."""
    rng = random.Random(0)
    scheme, expected = ClassScheme.of_centers(7), {center: center + 1 for center in range(7)}
    for _ in range(300):
        labels = sorted(set(expected.values()))
        chosen = rng.sample(labels, rng.randint(1, len(labels)))
        centers = [center for center, label in expected.items() if label == chosen[0]]
        if len(chosen) > 1:
            scheme = scheme.merge(chosen)
            expected = {c: chosen[0] if n in chosen else n for c, n in expected.items()}
        elif len(centers) > 1:
            scheme = scheme.split(chosen[0])
            kept = chosen[0] - 1 if chosen[0] - 1 in centers else centers[0]
            expected[kept] = chosen[0]
            homeless = []
            for center in sorted({*centers} - {kept}):
                if center + 1 in labels:
                    homeless.append(center)
                else:
                    expected[center] = center + 1
            taken = {*labels, *(expected[center] for center in {*centers} - {*homeless})}
            free = [number for number in range(1, 20) if number not in taken]
            expected |= dict(zip(homeless, free, strict=False))
        assert scheme.center_labels.tolist() == [expected[center] for center in range(7)]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s.merge([1]), r"labels must be at least two classes, got \[1\]"),
        (lambda s: s.merge([1, 1]), "labels must be at least two classes"),
        (lambda s: s.merge([1, 9]), r"label must be one of \[1, 2, 3, 4\], got 9"),
        (lambda s: s.merge([1, 2], [2, 3]), "each center from 0 once"),
        (lambda s: s.rename(5, "x"), "label must be one of"),
        (lambda s: s.rename(1, "two\nlines"), "name must be one line"),
        (lambda s: s.rename(1, "\ud800"), "name must be one line"),
        (lambda s: s.rename(1, "a\u2028b"), "name must be one line"),
        (lambda s: s.rename(1, "x" * 201), "name must be one line of at most 200"),
        (lambda s: s.rename(1, None), "name must be one line"),
        (lambda s: s.recolor(1, "red"), "color must be #rrggbb or None, got 'red'"),
        (lambda s: s.recolor(1, "#ff00001"), "color must be #rrggbb"),
        (lambda s: s.recolor(1, (1, 0, 0)), "color must be #rrggbb"),
        (lambda s: s.ignore(1, 2), "ignored must be True or False, got 2"),
        (lambda s: s.split(1), "label must be that of a class of several centers, got 1"),
        (lambda s: s.renumber({1: 2}), "classes must have different labels"),
        (lambda s: s.renumber({1: 0}), "label must be a whole number from 1 to 65535, got 0"),
        (lambda s: s.renumber({1: 1.5}), "label must be a whole number"),
        (lambda s: s.renumber({1: True}), "label must be a whole number"),
        (lambda s: s.renumber([1]), "new_labels must be a mapping"),
        (lambda s: s.merge(1), "labels must be at least two classes, got"),
        (lambda s: s.merge([[1], [2]]), r"label must be one of .*, got \[1\]"),
        (lambda s: s.rename(True, "a"), "label must be one of .*, got True"),
        (lambda s: s.ignore(1.0), "label must be one of .*, got 1.0"),
        (lambda s: ClassScheme.of_labels([1.5]), "label must be a whole number"),
        (lambda s: ClassScheme.of_labels(5), "center_labels must be a list of labels, got 5"),
        (lambda s: ClassScheme.of_centers("a"), "n_centers must be a whole number"),
        (lambda s: ClassScheme(5), "classes must be one or more ColorClass"),
        (lambda s: ClassScheme(()), "classes must be one or more ColorClass"),
        (lambda s: ClassScheme(s.classes[1:]), "classes must contain each center from 0 once"),
        (lambda s: ClassScheme((ColorClass(1, (0, 0)),)), "each center from 0 once"),
        (lambda s: ColorClass(1, ()), "centers must be one or more indices from 0"),
        (lambda s: ColorClass(1, (-1,)), "centers must be one or more indices from 0"),
        (lambda s: ClassScheme.from_list([{"label": 1}]), "classes must be a list with label"),
        (lambda s: ClassScheme.from_list([]), r"got \[\]: save the model again"),
        (lambda s: ClassScheme.from_list({}), "classes must be a list with label"),
    ],
)
def test_wrong_values_are_refused_in_one_sentence(edit, message, scheme):
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        edit(scheme)
    assert "\n" not in str(caught.value)


def test_split_gives_centers_the_labels_that_they_had():
    scheme = ClassScheme.of_labels([9, 3, 7, 5])
    merged = scheme.merge([3, 7, 9])
    assert merged.split(3, [9, 3, 7, 5]).center_labels.tolist() == [9, 3, 7, 5]
    # New classes have no label below the lowest one.
    assert ClassScheme.of_labels([5, 6]).replace_centers(5, 3).labels == (5, 6, 7, 8)
