"""Streak images from files: both formats written by hand here, rubbish of all kinds, the folder."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instruments.clock import VirtualClock
from instruments.drivers.saved_streak_images import SavedStreakImages
from instruments.drivers.streak_files import Given, read_streak_file
from instruments.errors import (
    BadReply,
    ConfigError,
    LimitError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.roles import StreakCamera

START_S = 1.0e9
TIMES, WAVES = 6, 9
COUNTS = np.arange(TIMES * WAVES).reshape(TIMES, WAVES) * 3 + 100
TIME_NS = np.array([0.0, 0.9, 1.9, 3.0, 4.0, 4.7])
WAVELENGTH_NM = np.linspace(540.0, 500.0, WAVES)  # as the vendor's files have it: falling
TYPES = {8: (0, "<u1"), 16: (2, "<u2"), 32: (3, "<u4")}


def comment(x='2,"nm","#{x},{nx:04d}"', y='2,"ns","#{y},{ny:04d}"', **changes):
    """Return a comment as HPD-TA writes it; {x}, {y}: where the tables will be."""
    values = {
        "gain": "50",
        "range": "5 ns",
        "mode": "Operate",
        "exposure": "200 ms",
        "number": "40",
        "acquired": "4",
        "delay": 'Delay Time="10800"',
        **changes,
    }
    (xt, xu, xf), (yt, yu, yf) = (text.split(",", 2) for text in (x, y))
    return (
        '[Application],Enconding=UTF-8,Date="20/01/2023",Time="11:34:55.147",Software="HPD-TA"\r\n'
        f"[Acquisition],NrExposure={values['number']},ExposureTime={values['exposure']},"
        f'AcqMode={values["acquired"]},areSource="0,0,9,6",ZAxisUnit=Count\r\n'
        '[Grabber],Type=5,SubType=0[DisplayLUT],EntrySize=9,BitRange="16x bit"\r\n'
        f'[Streak camera],UseDevice=-1,DeviceName="C10910",PluginName="M10911",Time Range='
        f'"{values["range"]}",Mode="{values["mode"]}",MCP Gain="{values["gain"]}",Shutter="Open"'
        f'\r\n[Spectrograph],Wavelength="520"\r\n[Delay box],UseDevice=-1,{values["delay"]}\r\n'
        f"[Scaling],ScalingXType={xt},ScalingXScale=2,ScalingXUnit={xu},ScalingXScalingFile={xf},"
        f"ScalingYType={yt},ScalingYScale=2,ScalingYUnit={yu},ScalingYScalingFile={yf}"
        '[Comment],UserComment="a, b=[c]"'
    )


def itex(counts=COUNTS, bits=16, text=None, x=WAVELENGTH_NM, y=TIME_NS):
    """Return the bytes of an .img file: header, comment, pixels by lines, tables."""
    kind, dtype = TYPES[bits]
    text = comment() if text is None else text
    pixels = np.asarray(counts).astype(dtype).tobytes()
    height, width = counts.shape
    length = len(text.format(x=10**6, y=10**6, nx=width, ny=height).encode())
    at_x = 64 + length + len(pixels)
    places = {"x": f"{at_x:07d}", "y": f"{at_x + 4 * len(x):07d}", "nx": width, "ny": height}
    header = struct.pack("<2s6H", b"IM", length, width, height, 0, 0, kind).ljust(64, b"\0")
    tables = np.concatenate([x, y]).astype("<f4").tobytes()
    return header + text.format(**places).encode() + pixels + tables


def tiff(pixels, text="", tables=b"", images=1):
    """Return a little-endian TIFF, one strip for two lines, tables behind the pixels."""
    height, width = pixels.shape
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    lines = [
        pixels[i : i + 2].astype(pixels.dtype.newbyteorder("<")).tobytes()
        for i in range(0, height, 2)
    ]
    begin = 8 + (len(text) + 1 + 1) // 2 * 2 + 8 * len(lines)
    offsets = [begin + sum(map(len, lines[:i])) for i in range(len(lines))]
    body = text.encode().ljust((len(text) + 2) // 2 * 2, b"\0")
    arrays = struct.pack(f"<{len(lines)}I", *offsets)
    arrays += struct.pack(f"<{len(lines)}I", *map(len, lines))
    at_ifd = begin + pixels.nbytes + len(tables)
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8 * pixels.dtype.itemsize),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (270, 2, len(text) + 1, 8),
        (273, 4, len(lines), 8 + len(body)),
        (277, 3, 1, 1),
        (278, 4, 1, 2),
        (279, 4, len(lines), 8 + len(body) + 4 * len(lines)),
        (339, 3, 1, kind),
    ]
    tags = tags if text else [tag for tag in tags if tag[0] != 270]
    size = 2 + 12 * len(tags) + 4
    directories = b""
    for image in range(images):
        following = at_ifd + size * (image + 1) if image < images - 1 else 0
        directories += struct.pack("<H", len(tags))
        directories += b"".join(struct.pack("<HHII", *tag) for tag in tags)
        directories += struct.pack("<I", following)
    return (
        struct.pack("<2sHI", b"II", 42, at_ifd)
        + body
        + arrays
        + b"".join(lines)
        + tables
        + directories
    )


def hamamatsu_tiff():
    pixels = COUNTS.astype("<u2")
    text = comment()
    length = len(text.format(x=10**6, y=10**6, nx=WAVES, ny=TIMES))
    begin = 8 + (length + 2) // 2 * 2 + 8 * 3 + pixels.nbytes
    text = text.format(x=f"{begin:07d}", y=f"{begin + 4 * WAVES:07d}", nx=WAVES, ny=TIMES)
    tables = np.concatenate([WAVELENGTH_NM, TIME_NS]).astype("<f4").tobytes()
    return tiff(pixels, text, tables)


def saved(folder, content, name="image.img", age_s=0.0):
    """Save a file whose time is some seconds ago."""
    path = Path(folder) / name
    path.write_bytes(content)
    about = path.stat().st_mtime - age_s
    os.utime(path, (about, about))
    return path


def read(tmp_path, content, name="image.img", **given_values):
    return read_streak_file(saved(tmp_path, content, name), Given(**given_values))


def right(image, counts=COUNTS):
    np.testing.assert_array_equal(image.counts, np.asarray(counts)[:, ::-1])
    np.testing.assert_allclose(image.time_ps, 1e3 * TIME_NS, rtol=1e-6)
    np.testing.assert_allclose(image.wavelength_nm, WAVELENGTH_NM[::-1], rtol=1e-6)
    return True


# ---- ITEX ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_an_itex_image_of_any_width(tmp_path, bits):
    counts = COUNTS % 200 if bits == 8 else COUNTS * (1 if bits == 16 else 1000)
    image = read(tmp_path, itex(counts, bits))
    assert right(image, counts) and image.counts.dtype == np.float32
    assert (image.time_range_ps, image.exposure_s, image.exposures) == (5000.0, 0.2, 40)
    assert (image.mode, image.mcp_gain, image.delay_ps) == ("analog", 50, 10800.0)
    assert image.device == "C10910 M10911" and not image.saturated


@pytest.mark.parametrize(
    ("unit", "scale", "sweep"),
    [
        ("fs", 1e6, "5 ns"),
        ("ps", 1e3, "5 ns"),
        ("ns", 1.0, "5 ns"),
        ("us", 1e-3, "5 ns"),
        ("ps", 1e3, "4"),
    ],
)
def test_units_of_time_and_a_sweep_without_one(tmp_path, unit, scale, sweep):
    text = comment(y=f'2,"{unit}","#{{y}},{{ny:04d}}"', range=sweep)
    image = read(tmp_path, itex(text=text, y=TIME_NS * scale))
    assert right(image)
    assert image.time_range_ps == pytest.approx(5000.0 if sweep == "5 ns" else 4700.0)


def test_axes_rise_whichever_way_the_file_has_them(tmp_path):
    image = read(tmp_path, itex(COUNTS[::-1, ::-1], x=WAVELENGTH_NM[::-1], y=TIME_NS[::-1]))
    assert right(image)


def test_time_across_is_seen_by_the_units(tmp_path):
    text = comment(x='2,"ns","#{x},{nx:04d}"', y='2,"nm","#{y},{ny:04d}"')
    assert right(read(tmp_path, itex(COUNTS.T, text=text, x=TIME_NS, y=WAVELENGTH_NM)))


def test_tables_as_older_versions_name_them(tmp_path):
    assert right(read(tmp_path, itex(text=comment(x='2,"nm",*{x}', y='2,"ns",*{y}'))))


def test_a_linear_scale(tmp_path):
    text = comment(x='1,"nm","Other"', y='1,"ns","Other"', range="12 ns")
    with pytest.raises(BadReply, match="make no sense"):  # 2 nm a pixel, from zero
        read(tmp_path, itex(text=text, x=[], y=[]))
    text = comment(y='1,"ns","Other"', range="10 ns")
    image = read(tmp_path, itex(text=text, y=[]))
    np.testing.assert_allclose(image.time_ps, 2000.0 * np.arange(TIMES))


def test_axes_that_the_file_does_not_have_are_given(tmp_path):
    content = itex(text=comment(x='1,"","Other"'), x=[])
    with pytest.raises(BadReply, match="wavelength_axis_nm"):
        read(tmp_path, content)
    image = read(tmp_path, content, wavelength_nm=(540.0, 500.0))
    assert right(image)


@pytest.mark.parametrize(
    ("code", "mode"), [("1", "analog"), ("2", "analog"), ("3", "counting"), ("9", None)]
)
def test_modes(tmp_path, code, mode):
    assert read(tmp_path, itex(text=comment(acquired=code))).mode == mode


def test_saturation_is_seen_in_one_exposure_in_many_and_in_the_file(tmp_path):
    counts = COUNTS.copy()
    counts[2, 3] = 65535
    assert read(tmp_path, itex(counts)).saturated
    assert not read(tmp_path, itex(counts, 32)).saturated
    counts[2, 3] = 40 * 65535
    assert read(tmp_path, itex(counts, 32)).saturated
    counts[2, 3] = 40 * 4095
    assert read(tmp_path, itex(counts, 32), saturation_counts=4095).saturated
    assert not read(
        tmp_path, itex(counts, 32, comment(acquired="3")), saturation_counts=4095
    ).saturated


def header(**changes):
    """Return an image whose header has been tampered with."""
    content = bytearray(itex())
    places = {"length": 2, "width": 4, "height": 6, "kind": 12, "images": 14, "channels": 18}
    for name, value in changes.items():
        struct.pack_into("<H", content, places[name], value)
    return bytes(content)


RUBBISH = {
    "empty": (b"", "ITEX"),
    "text": (b"not an image" * 20, "ITEX"),
    "a TIFF": (tiff(COUNTS.astype("<u2")), "ITEX"),
    "no pixels": (header(width=0), "make no image"),
    "too wide": (header(width=60000), "cut"),
    "huge": (header(width=65535, height=65535), "make no image"),
    "narrower": (header(width=WAVES - 1), "scale values"),
    "lower": (header(height=TIMES - 1), "scale values"),
    "compressed": (header(kind=1), "type 1"),
    "another width": (header(kind=0), "damaged"),
    "shorter comment": (header(length=400), "should end"),
    "several": (header(images=7), "several"),
    "channels": (header(channels=1), "several"),
    "a cut table": (itex()[:-3], "room"),
    "cut pixels": (itex()[:-100], "cut"),
    "something more": (itex() + b"\\0", "should end"),
    "focus": (itex(text=comment(mode="Focus")), "Focus mode"),
    "focus table": (itex(text=comment(y='1,"","Focus mode"'), y=[]), "Focus mode"),
    "no exposure": (itex(text=comment(exposure="")), "exposure_s"),
    "no gain": (itex(text=comment(gain="")), "mcp_gain"),
    "strange gain": (itex(text=comment(gain="high")), "mcp gain"),
    "no exposures": (itex(text=comment(number="0")), "nrexposure"),
    "strange sweep": (itex(text=comment(range="5 us")), "sweep"),
    "table elsewhere": (itex(text=comment(y='2,"ns","c:\\\\\\\\a.scl"')), "not in the file"),
    "tables overlap": (itex(text=comment(y='2,"ns","#{x},{ny:04d}"')), "damaged"),
    "scaling type": (itex(text=comment(y='3,"ns","#{y},{ny:04d}"')), "type '3'"),
    "unit": (itex(text=comment(y='2,"V","#{y},{ny:04d}"')), "in 'V'"),
    "two wavelengths": (itex(text=comment(y='2,"nm","#{y},{ny:04d}"')), "'nm'|axis"),
    "not rising": (itex(y=TIME_NS[[0, 2, 1, 3, 4, 5]]), "rise or fall"),
    "not numbers": (itex(y=[*TIME_NS[:5], np.nan]), "rise or fall"),
    "endless": (itex(y=[*TIME_NS[:5], np.inf]), "rise or fall|sweep"),
    "negative": (itex(x=-WAVELENGTH_NM), "make no sense"),
}


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_is_named(tmp_path, name):
    content, words = RUBBISH[name]
    with pytest.raises(BadReply, match=f"image.img: .*({words})"):
        read(tmp_path, content)


def test_sizes_are_checked_before_memory_is_taken(tmp_path):
    path = tmp_path / "sparse.img"
    with path.open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(BadReply, match="too big"):
        read_streak_file(path)


fuzz = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
IMG, TIF = itex(), hamamatsu_tiff()
PIXELS_AT = len(IMG) - 4 * (TIMES + WAVES) - COUNTS.size * 2


@fuzz
@given(cut=st.integers(0, len(IMG) - 1))
def test_a_cut_image_is_never_an_image(tmp_path, cut):
    with pytest.raises(BadReply):
        read(tmp_path, IMG[:cut])


@fuzz
@given(bit=st.integers(0, 8 * PIXELS_AT - 1))
def test_a_flipped_bit_before_the_pixels_leaves_them_right(tmp_path, bit):
    content = bytearray(IMG)
    content[bit // 8] ^= 1 << bit % 8
    try:
        image = read(tmp_path, bytes(content))
    except BadReply:
        return
    # What a letter of the comment says of time (a unit) no file can prove; the rest must hold.
    np.testing.assert_array_equal(image.counts, COUNTS[:, ::-1])
    np.testing.assert_allclose(image.wavelength_nm, WAVELENGTH_NM[::-1], rtol=1e-6)
    shape = image.time_ps / image.time_ps[-1]
    np.testing.assert_allclose(shape, TIME_NS / TIME_NS[-1], rtol=1e-6)


@fuzz
@given(cut=st.integers(0, len(TIF) - 1))
def test_a_cut_tiff_is_never_an_image(tmp_path, cut):
    with pytest.raises(BadReply):
        read(tmp_path, TIF[:cut], "image.tif")


@fuzz
@given(bits=st.lists(st.integers(0, 8 * len(TIF) - 1), min_size=1, max_size=3))
def test_flipped_bits_make_an_image_or_a_clear_error(tmp_path, bits):
    for name, good in (("image.img", IMG), ("image.tif", TIF)):
        content = bytearray(good)
        for bit in bits:
            content[bit // 8 % len(good)] ^= 1 << bit % 8
        try:
            image = read(tmp_path, bytes(content), name)
        except BadReply as error:
            assert name in str(error)
            continue
        assert image.counts.shape == (len(image.time_ps), len(image.wavelength_nm))
        assert (np.diff(image.time_ps) > 0).all() and (np.diff(image.wavelength_nm) > 0).all()
        assert np.isfinite(image.counts).all() and np.isfinite(image.time_ps).all()


# ---- TIFF ---------------------------------------------------------------------------------------


def test_a_tiff_with_the_vendors_comment_and_tables(tmp_path):
    image = read(tmp_path, TIF, "image.TIF")
    assert right(image) and (image.mode, image.mcp_gain) == ("analog", 50)


@pytest.mark.parametrize("dtype", ["<u1", "<u2", "<u4", "<i4", "<f4", "<f8"])
def test_a_plain_tiff_with_everything_given(tmp_path, dtype):
    counts = (COUNTS % 250).astype(dtype)
    told = {"time_ps": (0.0, 4700.0), "exposure_s": 0.1, "mcp_gain": 40}
    image = read(tmp_path, tiff(counts), "a.tiff", wavelength_nm=(500.0, 540.0), **told)
    np.testing.assert_array_equal(image.counts, counts)
    np.testing.assert_allclose(image.time_ps, np.linspace(0.0, 4700.0, TIMES))
    assert (image.mode, image.exposures, image.delay_ps) == (None, None, None)
    turned = read(
        tmp_path,
        tiff(counts.T.copy()),
        "a.tiff",
        wavelength_nm=(500.0, 540.0),
        time_across=True,
        **told,
    )
    np.testing.assert_array_equal(turned.counts, counts)
    with pytest.raises(BadReply, match="time_axis_ps"):
        read(tmp_path, tiff(counts), "a.tiff", wavelength_nm=(500.0, 540.0))
    with pytest.raises(BadReply, match="exposure_s"):
        read(tmp_path, tiff(counts), "a.tiff", wavelength_nm=(500.0, 540.0), time_ps=(0.0, 1.0))


def test_what_is_no_single_image_of_numbers(tmp_path):
    told = {"time_ps": (0.0, 1.0), "wavelength_nm": (1.0, 2.0), "exposure_s": 1.0, "mcp_gain": 0}
    with pytest.raises(BadReply, match="2 images"):
        read(tmp_path, tiff(COUNTS.astype("<u2"), images=2), "a.tif", **told)
    for wrong in (np.nan, np.inf, 1e300):
        counts = COUNTS.astype("<f8")
        counts[1, 1] = wrong
        with np.errstate(over="ignore"), pytest.raises(BadReply, match="pixels are"):
            read(tmp_path, tiff(counts), "a.tif", **told)
    with pytest.raises(BadReply, match="holds no images"):
        read(tmp_path, b"II*\0" + b"\xff" * 40, "a.tif", **told)


# ---- an independent reader ----------------------------------------------------------------------


@pytest.mark.clients
@pytest.mark.filterwarnings("ignore")
def test_another_reader_agrees(tmp_path):
    other = pytest.importorskip("rsciio.hamamatsu", reason="RosettaSciIO is not installed")
    text = comment().replace("a, b=[c]", "film 7")  # which it cannot read
    for bits in (8, 16, 32):
        path = saved(tmp_path, itex(COUNTS % 250, bits, text))
        found, ours = other.file_reader(str(path))[0], read_streak_file(path)
        np.testing.assert_array_equal(found["data"], ours.counts)
        times, waves = (np.asarray(axis["axis"]) for axis in found["axes"])
        np.testing.assert_allclose(1e3 * times, ours.time_ps, rtol=1e-6)
        np.testing.assert_allclose(waves, ours.wavelength_nm, rtol=1e-6)


# ---- the folder ---------------------------------------------------------------------------------


def camera(tmp_path, resource=None, **options):
    clock = VirtualClock(START_S)
    driver = SavedStreakImages(str(resource or tmp_path), clock, **options)
    driver.connect()
    return SimpleNamespace(clock=clock, driver=driver, folder=tmp_path)


def later(bench, seconds, action):
    """Do something once, after some seconds of bench time."""
    ticket = bench.clock.every(seconds, lambda: (ticket.cancel(), action()))


def test_the_next_file_is_waited_for_and_taken_once(tmp_path):
    saved(tmp_path, itex(COUNTS + 1), "old.img", age_s=100.0)
    b = camera(tmp_path, timeout_s=20.0)
    later(b, 5.0, lambda: saved(tmp_path, itex(), "new.img"))
    image = b.driver.acquire()
    np.testing.assert_array_equal(image.counts, COUNTS[:, ::-1])
    assert isinstance(b.driver, StreakCamera) and image.counts.dtype == np.float32
    assert (image.mode, image.exposures, image.exposure_s, image.mcp_gain) == (
        "analog",
        40,
        0.2,
        50,
    )
    assert START_S + 5.0 < image.end_s < START_S + 7.0 and image.start_s < image.end_s
    assert "new.img" in b.driver.status().text
    with pytest.raises(NoReply, match="no new image"):
        b.driver.acquire()
    assert b.clock.now() < image.end_s + 21.0


def test_existing_files_are_taken_in_the_order_of_their_times(tmp_path):
    for number, age_s in ((1, 30.0), (2, 50.0), (3, 10.0)):
        saved(tmp_path, itex(COUNTS + number), f"{number}.img", age_s)
    saved(tmp_path, b"notes", "notes.txt")
    b = camera(tmp_path, take_existing=True)
    assert [b.driver.acquire().counts.min() - 100 for _ in range(3)] == [2.0, 1.0, 3.0]


def test_a_pattern_chooses_files(tmp_path):
    b = camera(tmp_path, tmp_path / "film*.img")
    saved(tmp_path, itex(COUNTS + 1), "other.img")
    saved(tmp_path, itex(), "film7.img")
    assert b.driver.acquire().counts.min() == 100


def test_a_file_saved_again_under_its_name_is_a_new_one(tmp_path):
    saved(tmp_path, itex(), "current.img", age_s=60.0)
    b = camera(tmp_path)
    later(b, 2.0, lambda: saved(tmp_path, itex(COUNTS + 5), "current.img"))
    assert b.driver.acquire().counts.min() == 105


def test_a_growing_file_is_left_to_grow(tmp_path):
    b, content = camera(tmp_path), itex()
    parts = [content[:50], content[:300], content[:-20], content]
    for number, part in enumerate(parts):
        later(b, 2.0 + 2.0 * number, lambda part=part: saved(tmp_path, part, "a.img"))
    image = b.driver.acquire()
    assert image.end_s > START_S + 8.0
    np.testing.assert_array_equal(image.counts, COUNTS[:, ::-1])


def test_a_file_that_stays_rubbish_is_named_and_passed_over(tmp_path):
    b = camera(tmp_path)
    saved(tmp_path, itex()[:-20], "bad.img", age_s=1.0)
    saved(tmp_path, itex(), "good.img")
    with pytest.raises(BadReply, match=r"bad\.img: .*cut.*passed over"):
        b.driver.acquire()
    assert b.clock.now() > START_S + 3.0
    assert b.driver.acquire().counts.min() == 100


def test_a_file_of_another_mode_or_camera_is_refused(tmp_path):
    b = camera(tmp_path, identity_contains="c10910")
    saved(tmp_path, itex(text=comment(acquired="3")), "a.img")
    with pytest.raises(NotReady, match=r"a\.img was taken by counting, not by analog"):
        b.driver.acquire()
    saved(tmp_path, itex(text=comment(acquired="3")), "b.img")
    assert b.driver.acquire("counting").mode == "counting"
    for attempt in ({"mode": "fast"}, {"exposures": 0}):
        with pytest.raises(LimitError, match=next(iter(attempt))):
            b.driver.acquire(**attempt)
    with pytest.raises(WrongIdentity, match="right folder"):
        camera(tmp_path, identity_contains="C7700")


def test_waiting_can_be_stopped(tmp_path):
    for stop in ("abort", "make_safe", "close"):
        b = camera(tmp_path)
        later(b, 3.0, getattr(b.driver, stop))
        with pytest.raises(NotReady, match="stopped"):
            b.driver.acquire()
        assert b.clock.now() < START_S + 4.0
        b.driver.close()


def test_settings_follow_the_files_and_are_asked_of_the_operator(tmp_path):
    b = camera(tmp_path)
    for attempt in (lambda: b.driver.time_range_ps, lambda: b.driver.select_time_range(100.0)):
        with pytest.raises(NotReady, match="save one to"):
            attempt()
    assert b.driver.snapshot()["images"].value == 0
    saved(tmp_path, itex())
    b = camera(tmp_path)  # the newest image tells how the camera is set, and is not taken
    driver = b.driver
    assert driver.identity.model == "C10910 M10911"
    assert (driver.time_ranges_ps, driver.time_range_ps) == ((5000.0,), 5000.0)
    assert driver.select_time_range(4000.0) == 5000.0 and driver.set_delay_ps(10800.0) == 10800.0
    assert driver.go_to(520.3) == pytest.approx(520.0) and driver.set_mcp_gain(50) == 50
    assert driver.set_exposure_s(0.2) == 0.2 and driver.delay_ps == 10800.0
    for attempt, words in (
        (lambda: driver.select_time_range(6000.0), "time range: 6000 ps"),
        (lambda: driver.select_time_range(float("nan")), "time range"),
        (lambda: driver.set_delay_ps(0.0), "delay: 0 ps"),
        (lambda: driver.go_to(540.0), "spectrograph: 540 nm"),
        (lambda: driver.set_mcp_gain(20), "MCP gain: 20 is asked.*50"),
        (lambda: driver.set_exposure_s(1.0), "exposure: 1 s"),
    ):
        with pytest.raises(NotReady, match=f"{words}.*set it in the camera's program"):
            attempt()
    saved(tmp_path, itex(text=comment(range="10 ns", gain="20", delay="Lock=0")), "b.img")
    b.driver.acquire()
    assert driver.time_ranges_ps == (5000.0, 10000.0) and driver.set_mcp_gain(20) == 20
    with pytest.raises(NotReady, match="does not tell the delay"):
        _ = driver.delay_ps
    settings = driver.snapshot()
    assert settings["time_range"].value == 10000.0 and settings["last_file"].value == "b.img"
    assert driver.limits == {}
    with pytest.raises(AttributeError):
        driver.gain = 3


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(NoReply, match="is it there"):
        camera(tmp_path / "nowhere")
    with pytest.raises(NotReady, match="connect"):
        SavedStreakImages(str(tmp_path)).acquire()
    b = camera(tmp_path)
    b.driver.folder = tmp_path / "gone"
    for attempt in (b.driver.status, b.driver.acquire):
        with pytest.raises(NoReply, match="is it there"):
            attempt()


@pytest.mark.parametrize(
    "options",
    [
        {"timeout_s": 0.0},
        {"timeout_s": float("nan")},
        {"exposure_s": -1.0},
        {"mcp_gain": -1},
        {"saturation_counts": 0},
        {"time_axis_ps": [1.0]},
        {"time_axis_ps": [1.0, 1.0]},
        {"wavelength_axis_nm": [float("nan"), 1.0]},
    ],
)
def test_bad_options_are_refused_by_name(tmp_path, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        SavedStreakImages(str(tmp_path), **options)
