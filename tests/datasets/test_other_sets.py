"""mini-MIAS, RSNA 2022, VinDr-Mammo, INbreast and CMMD: labels, outlines and refusals."""

from __future__ import annotations

import plistlib
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mammolens.datasets import DATASETS
from mammolens.errors import TrainingDataError
from mammolens.phantom import dicom, make


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


MIAS = "file,patient_id,laterality,view,pathology,abnormality_type,roi_x,roi_y,roi_r,tissue"


def test_mini_mias_puts_the_lesions_of_an_image_together(tmp_path: Path) -> None:
    rows = (
        "images/a.png,m1,L,MLO,BENIGN,CIRC,535.0,599.0,197.0,G",
        "images/b.png,m1,R,MLO,NORMAL,NORM,,,,G",
        "images/a.png,m1,L,MLO,MALIGNANT,CALC,,,,G",
    )
    write(tmp_path / "labels.csv", MIAS, *rows)
    first, second = DATASETS["mini-mias"](tmp_path)
    assert (first.malignant, [a.kind for a in first.abnormalities]) == (True, ["mass", "calcification"])
    assert first.abnormalities[0].outline.circle == (535.0, 599.0, 197.0)
    assert first.abnormalities[1].outline is None
    assert (second.malignant, second.abnormalities, second.strata) == (False, (), {"tissue": "G"})


def test_mini_mias_here_holds_the_counts_that_its_description_states(shared: Path) -> None:
    table = DATASETS["mini-mias"](shared / "data" / "mini-mias")
    assert (len(table), len({case.woman for case in table})) == (220, 110)
    assert all(case.path.is_file() for case in table)


def test_rsna_2022_names_the_originals(tmp_path: Path) -> None:
    header = (
        "site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,density,machine_id,"
        "difficult_negative_case"
    )
    write(
        tmp_path / "train.csv", header, "2,10006,462822612,L,CC,61.0,0,0,0,,0,,29,False", "1,9,8,R,MLO,,1,1,1,,1,C,49,"
    )
    first, second = DATASETS["rsna-2022"](tmp_path)
    assert first.path == tmp_path / "train_images" / "10006" / "462822612.dcm"
    assert (first.malignant, first.density, first.fold) == (False, "", None)
    assert (second.malignant, second.density, second.strata["machine_id"], second.strata["implant"]) == (
        True,
        "c",
        "49",
        "1",
    )
    write(tmp_path / "train.csv", header, "2,10006,462822612,B,CC,61.0,0,0,0,,0,,29,False")
    with pytest.raises(TrainingDataError, match=r'train\.csv, row 2: the column "laterality"'):
        DATASETS["rsna-2022"](tmp_path)


VINDR = "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,split"
FOUND = VINDR.replace(",split", ",finding_categories,finding_birads,xmin,ymin,xmax,ymax,split")


def test_vindr_takes_birads_4_for_malignant_and_keeps_boxes(tmp_path: Path) -> None:
    left, right = "s1,e1,i1,L,CC,3518,2800", "s1,e1,i2,R,CC,3518,2800"
    write(
        tmp_path / "breast-level_annotations.csv",
        VINDR,
        f"{left},BI-RADS 4,DENSITY C,training",
        f"{right},BI-RADS 3,DENSITY C,training",
    )
    write(
        tmp_path / "finding_annotations.csv",
        FOUND,
        f"{left},BI-RADS 4,DENSITY C,\"['Suspicious Calcification', 'Mass']\",BI-RADS 4,10.5,20,110,220,training",
        f"{right},BI-RADS 3,DENSITY C,['No Finding'],,,,,,training",
    )
    first, second = DATASETS["vindr-mammo"](tmp_path)
    assert first.path == tmp_path / "images" / "s1" / "i1.dicom"
    assert (first.malignant, second.malignant, first.split, first.density) == (True, False, "train", "c")
    (lesion,) = first.abnormalities
    assert (lesion.kind, lesion.birads, lesion.pathology, lesion.outline.box) == (
        "calcification",
        4,
        "",
        (10.5, 20.0, 110.0, 220.0),
    )
    assert second.abnormalities == ()
    write(
        tmp_path / "finding_annotations.csv", FOUND, f"{left.replace('i1', 'i9')},BI-RADS 4,DENSITY C,x,,1,2,3,4,test"
    )
    with pytest.raises(TrainingDataError, match=r"row 2: .*names no image"):
        DATASETS["vindr-mammo"](tmp_path)


BREAST = "Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads;Mass ;Micros"


def test_inbreast_reads_semicolons_names_and_contours(tmp_path: Path) -> None:
    write(
        tmp_path / "INbreast.csv",
        BREAST,
        "removed;removed;R;CC;201001;22678622;4;4b;X;",
        "removed;removed;L;MLO;201001;22678646;1;2;;",
    )
    for name in ("22678622_61b13c59bcba149e_MG_R_CC_ANON.dcm", "22678646_61b13c59bcba149e_MG_L_ML_ANON.dcm"):
        write(tmp_path / "AllDICOMs" / name, "")
    regions = [
        {"Name": "Mass", "Point_px": ["(100.5, 200.0)", "(180.0, 240.0)", "(120.0, 300.25)"]},
        {"Name": "Calcifications", "Point_px": ["(50.0, 60.0)"]},
        {"Name": "Unnamed", "Point_px": []},
    ]
    (tmp_path / "AllXML").mkdir()
    (tmp_path / "AllXML" / "22678622.xml").write_bytes(plistlib.dumps({"Images": [{"ROIs": regions}]}))
    first, second = DATASETS["inbreast"](tmp_path)
    assert (first.woman, first.malignant, first.density) == ("61b13c59bcba149e", True, "d")
    assert [(a.kind, a.outline.box) for a in first.abnormalities] == [
        ("mass", (100.5, 200.0, 181.0, 301.25)),
        ("calcification", (50.0, 60.0, 51.0, 61.0)),
    ]
    assert (second.woman, second.malignant, second.abnormalities) == (first.woman, False, ())
    (tmp_path / "AllXML" / "22678646.xml").write_bytes(b"<plist><dict>")
    with pytest.raises(TrainingDataError, match=r"INbreast\.csv, row 3: the contours"):
        DATASETS["inbreast"](tmp_path)
    next((tmp_path / "AllDICOMs").glob("22678646*")).unlink()
    with pytest.raises(TrainingDataError, match=r"row 3: .*not in AllDICOMs"):
        DATASETS["inbreast"](tmp_path)


CMMD = "ID1,LeftRight,Age,number,abnormality,classification,subtype"


def image(path: Path, side: str, code: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dicom(make(rows=160, columns=128)))
    data = pydicom.dcmread(path)
    data.ImageLaterality = side
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "SNM3", "view"
    data.ViewCodeSequence = Sequence([item])
    data.save_as(path)


def test_cmmd_takes_side_and_view_from_the_header_and_labels_from_the_table(tmp_path: Path) -> None:
    rows = (
        "D1-0001,R,44,2,calcification,Benign,",
        "D2-0002,L,55,4,both,Malignant,Luminal A",
        "D2-0002,R,55,4,mass,Benign,",
    )
    write(tmp_path / "CMMD_clinicaldata_revision.csv", CMMD, *rows)
    image(tmp_path / "CMMD" / "D1-0001" / "07-18-2010-NA" / "1.0-70244" / "1-1.dcm", "R", "R-10242")
    image(tmp_path / "CMMD" / "D1-0001" / "07-18-2010-NA" / "1.0-70244" / "1-2.dcm", "L", "R-10242")
    image(tmp_path / "CMMD" / "D2-0002" / "07-18-2010-NA" / "1.0-7" / "1-1.dcm", "L", "R-10226")
    image(tmp_path / "CMMD" / "D2-0002" / "07-18-2010-NA" / "1.0-7" / "1-2.dcm", "R", "R-10226")
    table = DATASETS["cmmd"](tmp_path)
    assert [(case.woman, case.laterality, case.view, case.malignant) for case in table] == [
        ("D1-0001", "R", "CC", False),
        ("D2-0002", "L", "MLO", True),
        ("D2-0002", "R", "MLO", False),
    ]
    assert table[1].strata["subtype"] == "Luminal A"
    write(tmp_path / "CMMD_clinicaldata_revision.csv", CMMD, *rows, "D1-0003,R,44,2,mass,Benign,")
    with pytest.raises(TrainingDataError, match="row 5: there is no folder of the woman D1-0003"):
        DATASETS["cmmd"](tmp_path)
