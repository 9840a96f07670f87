"""The documents of the demonstration, made here: one sale, unpaid, told by four pieces whose amounts agree."""

import io
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mespieces.gateways import pdf

_SELLER = {
    "name": "Au bon moulin SARL",
    "trade": "Huiles d’olive et produits de Provence",
    "lines": ["1242 chemin de l’Olive", "84340 Malaucène", "04 90 00 00 00"],
    "legal": (
        "Au bon moulin SARL au capital de 8 000 € · RCS Avignon 000 000 000 · TVA intracommunautaire FR00 000 000 000 · "
        "entreprise imaginaire, document de démonstration"
    ),
}
_BUYER = {
    "name": "Ma jolie boutique",
    "lines": ["À l’attention d’Alexandre Payet, gérant", "35 rue de la République", "44000 Nantes"],
}
# designation, quantity, unit price before tax
_SOLD = (
    ("Huile d’olive vierge extra, bouteille de 75 cl", 96, Decimal("11.50")),
    ("Tapenade noire, pot de 180 g", 120, Decimal("4.20")),
    ("Savon de Marseille, cube de 300 g", 144, Decimal("3.75")),
    ("Coffret dégustation « Découverte »", 24, Decimal("27.90")),
    ("Transport et palette", 1, Decimal("85.00")),
)
_VAT = Decimal("0.20")
_DEPOSIT = Decimal("600.00")
_RECOVERY = Decimal("40.00")  # article D. 441-5 du code de commerce


def amounts() -> Mapping[str, Decimal]:
    """Return what the pieces agree on, in euros: `net`, `vat`, `total`, `paid`, `due`, `claimed` (with the indemnity)."""
    net = sum((quantity * price for _, quantity, price in _SOLD), Decimal())
    vat = (net * _VAT).quantize(Decimal("0.01"))
    due = net + vat - _DEPOSIT
    return {"net": net, "vat": vat, "total": net + vat, "paid": _DEPOSIT, "due": due, "claimed": due + _RECOVERY}


@cache
def invoice() -> bytes:
    """Return the invoice FA-2026-0114, one page, PDF."""
    sums = amounts()
    rows = [[name, str(number), euros(price), euros(number * price)] for name, number, price in _SOLD]
    return _letter(
        datetime(2026, 3, 12, 9, 30, tzinfo=UTC),
        title="Facture FA-2026-0114",
        opening=[
            "Malaucène, le 12 mars 2026",
            "Bon de livraison BL-2026-0131 du 10 mars 2026 · commande du 27 février 2026",
        ],
        columns=["Désignation", "Quantité", "Prix unitaire HT", "Montant HT"],
        widths=["rest", "auto", "auto", "auto"],
        rows=rows,
        totals=[
            ["Total HT", euros(sums["net"])],
            ["TVA 20 %", euros(sums["vat"])],
            ["Total TTC", euros(sums["total"])],
            ["Acompte reçu le 27 février 2026", f"− {euros(sums['paid'])}"],
            ["Net à payer", euros(sums["due"])],
        ],
        closing=[
            "Payable à trente jours, au plus tard le 11 avril 2026, par virement. Pas d’escompte pour paiement anticipé.",
            "En cas de retard : pénalités au taux de trois fois l’intérêt légal et indemnité forfaitaire de 40,00 € pour "
            "frais de recouvrement (articles L. 441-10 et D. 441-5 du code de commerce).",
        ],
    )


@cache
def delivery_note() -> bytes:
    """Return the signed delivery note BL-2026-0131, one page, PDF."""
    goods = _SOLD[:-1]
    return _letter(
        datetime(2026, 3, 10, 10, 15, tzinfo=UTC),
        title="Bon de livraison BL-2026-0131",
        opening=["Livré le 10 mars 2026 à 10 h 15, 35 rue de la République, 44000 Nantes", "Une palette, 214 kg"],
        columns=["Désignation", "Commandé", "Livré"],
        widths=["rest", "auto", "auto"],
        rows=[[name, str(number), str(number)] for name, number, _ in goods],
        closing=[
            f"Soit {sum(number for _, number, _ in goods)} articles.",
            "Marchandise reçue complète et en bon état.",
        ],
        signed_label="Le destinataire : nom et signature",
        signed="A. Payet",
    )


@cache
def formal_notice() -> bytes:
    """Return the formal notice to pay of 18 May 2026, two pages, PDF."""
    sums = amounts()
    return _letter(
        datetime(2026, 5, 18, 8, 0, tzinfo=UTC),
        title="Mise en demeure de payer",
        opening=["Malaucène, le 18 mai 2026", "Lettre recommandée avec avis de réception n° 1A 000 000 0000 0"],
        closing=[
            "Monsieur,",
            "Le 10 mars 2026, nous vous avons livré les marchandises décrites au bon de livraison BL-2026-0131, que vous "
            "avez signé sans réserve. Notre facture FA-2026-0114 du 12 mars 2026, d’un montant de "
            f"{euros(sums['total'])} TTC, devait être réglée le 11 avril 2026.",
            f"Votre acompte de {euros(sums['paid'])} déduit, il reste dû {euros(sums['due'])}. Nos rappels des 20 avril et "
            "4 mai 2026 sont restés sans réponse.",
            "Nous vous mettons en demeure de payer, dans les huit jours de la réception de cette lettre, la somme de "
            f"{euros(sums['claimed'])}, détaillée au verso. À défaut, nous demanderons au tribunal une ordonnance portant "
            "injonction de payer.",
            "Cette lettre fait courir les intérêts de retard (article 1344-1 du code civil).",
            "Veuillez agréer, Monsieur, nos salutations distinguées.",
        ],
        signed_label="La gérante",
        signed="C. Olivier",
        second_title="Détail de la somme demandée",
        second_page=[
            f"Facture FA-2026-0114, total TTC : {euros(sums['total'])}",
            f"Acompte reçu le 27 février 2026 : − {euros(sums['paid'])}",
            f"Reste dû sur la facture : {euros(sums['due'])}",
            f"Indemnité forfaitaire pour frais de recouvrement (article D. 441-5) : {euros(_RECOVERY)}",
            f"Somme demandée : {euros(sums['claimed'])}, intérêts de retard en sus.",
        ],
    )


@cache
def receipt_photo() -> bytes:
    """Return a till receipt photographed on a table by a phone held upright (EXIF orientation 6), JPEG."""
    random = Random("mes-pieces")  # noqa: S311 — the same picture every time is the point
    paper = _receipt()
    scene = Image.new("RGB", (1200, 1600), "#7a5c42")
    veins = ImageDraw.Draw(scene)
    for line in range(0, 1600, 5):
        shade = random.randint(-9, 9)
        veins.line([(0, line), (1200, line + random.randint(-8, 8))], (122 + shade, 92 + shade, 66 + shade), 4)
    turned = paper.rotate(2.6, Image.Resampling.BICUBIC, expand=True)
    place = ((1200 - turned.width) // 2, (1600 - turned.height) // 2)
    shadow = turned.getchannel("A").point(lambda value: value * 120 // 255)
    cast = Image.new("L", scene.size)
    cast.paste(shadow, (place[0] + 16, place[1] + 20))
    scene.paste("black", mask=cast.filter(ImageFilter.GaussianBlur(18)))
    scene.paste(turned, place, turned)
    light = Image.radial_gradient("L").resize((2000, 2600)).crop((250, 300, 1450, 1900)).point(lambda value: value // 3)
    scene.paste("black", mask=light)
    grain = (
        Image.frombytes("L", (300, 400), random.randbytes(120_000)).resize(scene.size).point(lambda value: value // 18)
    )
    scene.paste("white", mask=grain)
    exif = Image.Exif()
    exif[0x0112] = 6  # as a phone does: stored lying, to be turned a quarter clockwise
    exif[0x010F], exif[0x0132] = "Mes Pieces", "2026:02:27 17:42:10"
    photo = io.BytesIO()
    scene.transpose(Image.Transpose.ROTATE_90).save(photo, "JPEG", quality=84, exif=exif)
    return photo.getvalue()


def euros(amount: Decimal) -> str:
    """Return an amount as the French write it, `1 234,56 €`."""
    return f"{amount:,.2f}".replace(",", "\u202f").replace(".", ",") + "\xa0€"


def _receipt() -> Image.Image:
    # no accents: tills seldom print any, and neither does the font Pillow carries
    paper = Image.new("RGBA", (620, 1180), "#fbfaf4")
    draw, top = ImageDraw.Draw(paper), 46
    lines = (
        (34, "AU BON MOULIN", ""),
        (22, "1242 CHEMIN DE L'OLIVE", ""),
        (22, "84340 MALAUCENE", ""),
        (26, "", ""),
        (24, "RECU D'ACOMPTE", "27/02/2026"),
        (24, "Caisse 1", "17:42"),
        (26, "", ""),
        (24, "Commande", "Ma jolie boutique"),
        (24, "Regle par", "carte bancaire"),
        (26, "", ""),
        (34, "ACOMPTE", "600,00 EUR"),
        (26, "", ""),
        (22, "A deduire de la facture", ""),
        (22, "Merci de votre visite", ""),
    )
    for size, left, right in lines:
        font = ImageFont.load_default(size)
        across = 60 if right else (620 - draw.textlength(left, font)) / 2
        draw.text((across, top), left, "#33302c", font)
        draw.text((560 - draw.textlength(right, font), top), right, "#33302c", font)
        top += size + 34
    for across in range(0, 620, 20):  # the torn edge
        draw.polygon(
            [(across, 1180), (across + 10, 1168 - round(4 * math.sin(across))), (across + 20, 1180)], (0, 0, 0, 0)
        )
    return paper


def _letter(date: datetime, **facts: Any) -> bytes:
    blank: dict[str, Any] = {"opening": [], "columns": [], "widths": [], "rows": [], "totals": [], "closing": []}
    blank |= {
        "signed": "",
        "signed_label": "",
        "second_title": "",
        "second_page": [],
        "seller": _SELLER,
        "buyer": _BUYER,
    }
    return pdf.compose("sample", blank | facts, issued_at=date)
