"""Who the embedded faces are (traits of identities) and how they are photographed (styles)."""

from dataclasses import dataclass

# What makes a person: name -> (mean, standard deviation), lengths in half canvases.
TRAITS = {
    "head_width": (0.64, 0.035),
    "chin": (0.84, 0.035),
    "jaw": (0.45, 0.22),  # 0 oval, 1 square
    # Nothing reads it, but it takes one turn of the random numbers: without it every pixel would change.
    "cheek": (0.5, 0.22),
    "ear": (0.12, 0.02),
    "tone": (0.35, 0.30),  # of the skin: 0 light, 1 dark
    "warmth": (0.0, 0.028),
    "hair_dark": (0.62, 0.34),
    "hair_red": (0.25, 0.25),
    "hairline": (-0.60, 0.06),
    "hair_part": (0.0, 0.24),
    "hair_curve": (0.60, 0.25),
    "hair_volume": (0.12, 0.05),
    "hair_wave": (9.0, 3.0),
    "eye_gap": (0.285, 0.022),
    "eye_height": (-0.10, 0.022),
    "eye_width": (0.135, 0.013),
    "eye_open": (0.064, 0.011),
    "eye_slant": (0.03, 0.11),
    "iris": (0.058, 0.005),
    "iris_blue": (0.4, 0.4),
    "iris_green": (0.3, 0.3),
    "brow_height": (0.165, 0.024),
    "brow_thick": (0.030, 0.009),
    "brow_arch": (1.1, 0.6),
    "brow_slant": (-0.05, 0.13),
    "nose_tip": (0.235, 0.035),
    "nose_width": (0.112, 0.018),
    "nose_bridge": (0.5, 0.25),
    "mouth_height": (0.475, 0.028),
    "mouth_width": (0.215, 0.026),
    "lip_upper": (0.036, 0.010),
    "lip_lower": (0.052, 0.013),
    "lip_red": (0.5, 0.28),
    "age": (0.45, 0.30),
    "mole_x": (0.0, 0.30),
    "mole_y": (0.22, 0.24),
}
CHANCES = ("long_hair", "bald", "fringe", "beard", "moustache", "freckles", "mole", "glasses")


@dataclass(frozen=True)
class Style:
    """How the photographs of a database vary. Pairs are mean and standard deviation."""

    yaw: float = 0.09  # deviation of the shift of the face's middle against its outline
    pitch: float = 0.035
    roll: float = 0.05  # sine of the angle
    scale: tuple[float, float] = (0.95, 0.035)  # of the face
    shift: float = 0.028
    expression: float = 0.7
    light: float = 0.18  # sideways
    frontal: float = 0.0  # share of light from the camera, as a flash gives
    warm: tuple[float, float] = (0.02, 0.03)  # colour of the light, blue to orange
    exposure: tuple[float, float] = (0.0, 0.07)
    contrast: tuple[float, float] = (1.0, 0.07)
    colour: tuple[float, float] = (0.95, 0.10)  # saturation
    grey: float = 0.02  # share of images without colour
    blur: tuple[float, float] = (0.05, 0.20)  # passes of a filter
    noise: tuple[float, float] = (0.010, 0.007)
    quantiser: tuple[float, float] = (0.018, 0.010)  # step of the compression; 1 is the whole range
    occlusion: float = 0.06  # share of images with something before the face
    texture: float = 1.0  # of skin, hair and background
    ageing: float = 0.03  # between photographs of one person
    backdrop: tuple[float, float] = (0.5, 0.22)  # brightness


# Apart as real databases are, and overlapping in every factor. The developer of D cropped its faces
# tightly; every other database has framing, light and codec of its own.
# fmt: off
STYLES = {
    "embedded_web": Style(),  # photographs of known people on the web
    "embedded_video": Style(  # frames: more pose, darker, softer, more compressed
        yaw=0.13, pitch=0.06, scale=(0.88, 0.045), exposure=(-0.06, 0.09), contrast=(0.94, 0.08),
        colour=(0.86, 0.13), blur=(0.35, 0.30), noise=(0.013, 0.009), quantiser=(0.028, 0.015),
        backdrop=(0.42, 0.22),
    ),
    "embedded_news": Style(  # press: loosely framed, hard light, some without colour
        scale=(0.86, 0.055), shift=0.04, light=0.28, contrast=(1.06, 0.09), colour=(0.84, 0.16),
        grey=0.10, noise=(0.012, 0.008), occlusion=0.12, backdrop=(0.44, 0.24),
    ),
    "embedded_rendered": Style(  # generated: studio light, clean, little of anything
        yaw=0.07, pitch=0.03, roll=0.03, scale=(0.88, 0.03), shift=0.02, light=0.14, warm=(0.03, 0.02),
        exposure=(0.04, 0.05), colour=(1.04, 0.09), grey=0.0, blur=(0.0, 0.12), noise=(0.005, 0.004),
        quantiser=(0.010, 0.006), occlusion=0.03, texture=0.6, ageing=0.02, backdrop=(0.58, 0.22),
    ),
    "embedded_albums": Style(  # phones: flash, tilt, all ages
        roll=0.09, scale=(0.87, 0.05), shift=0.04, expression=0.9, frontal=0.4, warm=(0.05, 0.045),
        exposure=(0.05, 0.10), contrast=(1.03, 0.09), blur=(0.15, 0.25), noise=(0.014, 0.009),
        quantiser=(0.022, 0.012), occlusion=0.12, ageing=0.07, backdrop=(0.40, 0.24),
    ),
}
