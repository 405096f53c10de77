"""Text that a person could not read is told from text in any language, forms and figures."""

from __future__ import annotations

import pytest

from deployments.parser.reading.readability import is_unreadable, mended

PROSE = [
    "The old bridge over the Andre was closed in May because two of its piers had moved.",
    "Die alte Brücke über die Andre wurde im Mai geschlossen, weil zwei ihrer Pfeiler wankten.",
    "Le vieux pont a été fermé en mai parce que deux de ses piles avaient bougé.",
    "Stary most na rzece został zamknięty w maju, ponieważ przesunęły się dwa filary.",
    "Cây cầu cũ bắc qua sông đã bị đóng cửa vào tháng năm vì hai trụ cầu bị dịch chuyển.",
    "Vanha silta suljettiin toukokuussa, koska kaksi sen pilareista oli siirtynyt.",
    "Старый мост через реку закрыли в мае, потому что две его опоры сдвинулись.",
    "الجسر القديم فوق النهر أغلق في شهر مايو لأن اثنين من أعمدته تحركا",
    "この橋の長さは三百四十メートルです。五月に閉鎖されました。",
    "这座旧桥在五月关闭，因为它的两个桥墩移动了。",
    "이 오래된 다리는 두 개의 교각이 움직였기 때문에 5월에 폐쇄되었습니다.",
    "1,204.50 17.03 (4,711.00) 38 % 2024-05-01 12/47 EUR 99.90 +3.4 -2.8 = 0.6",
    "Name ................ Street ................ Town ................ Date ........",
    "HTTP JSON XML YAML SQL KV GPU CPU RAM JVM TLS SSH DNS VPN XSS CSRF JWT RFC IETF ISO ANSI CSS",
    "Wojciech Szczęsny, Grzegorz Krychowiak, Kamil Glik, Jakub Błaszczykowski, Piotr Zieliński",
    "AB-4711-XK GTIN 04012345123456 SKU X7 REV B RoHS IP67 24 V DC 0.5 A M12x1",
]
CIPHERED = "7KH ROG EULGJH RYHU WKH $QGUH ZDV FORVHG LQ 0D\\ EHFDXVH WZR RI LWV SLHUV KDG PRYHG"


@pytest.mark.parametrize("text", PROSE)
@pytest.mark.parametrize("unmapped", [0.0, 0.2])
def test_what_people_read(text: str, unmapped: float) -> None:
    assert not is_unreadable(text, unmapped)


@pytest.mark.parametrize("text", PROSE[:6])
def test_font_without_a_mapping_whose_codes_are_letters(text: str) -> None:
    assert not is_unreadable(text, 1.0)


@pytest.mark.parametrize(
    ("text", "unmapped"),
    [
        (CIPHERED, 1.0),
        (CIPHERED, 0.0),
        ("%-*!2/)!'4.),*!28*4!6-*!$1)4*!9&5!(/25*)!.1!#&:!", 1.0),
        ("ÄOHFM QJEJï B ÈOOF VO jCMFTLJWFS Z VO C VG CPVSHVJHOPO", 1.0),
        ("ɍɝɥɨɜɚɹ ɲɥɢɮɨɜɚɥɶɧɚɹ ɦɚɲɢɧɚ", 0.0),
        ("/G5/G13/G10/G1/G18/G15/G9/G1/G7/G20", 0.0),
        ("(cid:12)(cid:3)(cid:7)(cid:44)(cid:5)", 0.0),
        ("\ue001\ue002\ue003 \ue004\ue005 \ue006\ue007\ue008", 0.0),
        ("����� �������� ���", 0.0),
        ("The \x13rst o\x14ce was\x15nt \x16ull of \x17nts an\x18 \x19eople", 0.3),
        ("̽ଋҨ ǥ ƹ̽ୡȥ ဎഁୡࣧҨ ဌʾ ဎಱ̽ೌ¢ ܆ȥ¢ ਮΝ੧ ͱʸ¢ ͢ฏʤҨ", 0.0),
        ("䋴䋮䋶糫蒭鍍伴俘緌鍍伴俘勢渡袱糫㩈㶜䆀䩱㦇♑㈉䗂ᜯ䜫", 0.0),
        ("킜킰톁톁킰 킜킰톁톈톂킰킱 킘킷킼킛킸톁톂 킴킾킺톃킼", 0.5),
    ],
)
def test_what_nobody_can_read(text: str, unmapped: float) -> None:
    assert is_unreadable(text, unmapped)


def test_long_ciphered_page_of_a_font_that_claims_to_be_right() -> None:
    text = (
        "WKH PDJLVWUDWHV RI WKH KDUERXU FROOHFWHG H[WUDRUGLQDULO\\ KLJK WROOV IURP YHVVHOV DQG "
        "QRERG\\ LQ WKH ZKROH WRZQ FRPSODLQHG XQWLO WKH WROO KDG RXWOLYHG WKH NLQJV E\\ PRUH WKDQ "
        "HOHYHQ \\HDUV ZKHQ PHUFKDQWV ZRQ WKHLU FDVH DJDLQVW WKH FURZQ LQ D FRXUW DEURDG"
    )
    assert is_unreadable(text)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "An e\x0ecient pump, a \x0clter, a su\x0ex, o\x0b",
            "An efficient pump, a filter, a suffix, off",
        ),
        ("de\x1cne the e\x1bect", "define the effect"),
        ("de¯ne the o±cial ¯rst", "define the official first"),
        ("20 °C ± 2 ®", "20 °C ± 2 ®"),
        ("AAnnnnuuaall rreeppoorrtt", "Annual report"),
        ("AAAAnnnnnnnnuuuuaaaallll", "Annual"),
        ("a bookkeeper", "a bookkeeper"),
        ("ﬁrst oﬀer", "first offer"),
        ("\U0001d45d + \U0001d452", "p + e"),
        ("x \uf02b y \uf03d z", "x + y = z"),
    ],
)
def test_mended_lines(line: str, text: str) -> None:
    assert mended(line) == text
