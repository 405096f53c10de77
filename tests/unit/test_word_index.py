"""The word index: forms of a word meet in each language, and what was stored before is matched."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from deployments.catalogue.entries import CollectionEntry, Upload
from deployments.parser.languages import language_of
from deployments.retriever.bm25 import LexicalEncoder, SparseVector
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.retriever.edge.store import EdgeStore
from deployments.settings import RetrieverSettings
from deployments.types import Chunk
from serve_app.testing import FakeEmbedder
from serve_app.testing.service import new_catalogue

if TYPE_CHECKING:
    from pathlib import Path

LEXICAL = LexicalEncoder()

FORMS = [
    # Language, what is stored, a question that must meet it, and one that must not.
    ("de", "Die Häuser wurden verkauft.", "Wem gehört das Haus?", "Wann sind Hausaufgaben fällig?"),
    ("de", "STRASSE DES 17. JUNI", "Wie lang ist die Straße?", "Wo ist der Strand?"),
    ("es", "Escribió muchas canciones.", "¿Qué canción cantó?", "¿Quién está cansado?"),
    ("fr", "Les chevaux de l\u2019école", "Où est un cheval ?", "Qui porte un chapeau ?"),
    ("it", "le biblioteche comunali", "Dov'è la biblioteca?", "Dov'è il bibliotecario?"),
    ("nl", "De huizen zijn oud.", "Wie woont in dit huis?", "Wie heeft honger?"),
    ("pl", "w kilku miastach", "Jakie miasto?", "Czyja miska?"),
    ("cs", "ve všech městech", "Které město?", "Který měsíc?"),
    ("fi", "Taloissa asuu ihmisiä.", "Kenen talo?", "Paljonko talous kasvoi?"),
    ("ro", "muzeele ora\u015felor", "Ce ora\u0219?", "Ce orar?"),
    ("tr", "I\u015e\u0131KLAR \u0130STANBUL'DA", "\u0131\u015f\u0131k nerede?", "isik nerede?"),
    ("tr", "\u0130stanbul'da kitaplar", "Hangi kitap?", "Hangi k\u0131ta?"),
    ("el", "οι ΠΌΛΕΙΣ της Ελλάδας", "Ποια πόλη;", "Ποιο πουλί;"),
    ("ru", "В городах ставят ёлки.", "Какая елка?", "Какой горох?"),
    ("ru", "Он подписал Windows Updates", "an update of windows", "a door"),
    ("ar", "بُنِيَتْ مَدْرَسَةٌ", "أين المدرسة؟", "أين المدير؟"),
    ("ar", "وصل أحمد إلى الجامعات", "جامعة احمد", "جمعية حميد"),
    ("fa", "کتاب\u200cها را خواند", "کدام کتاب؟", "کدام کتف؟"),
    ("hi", "लड़कियाँ क़लम से लिखती हैं", "कलम किसकी है?", "कमल कहाँ है?"),
    ("hi", "विश्वविद्यालयों में", "कौन सा विश्वविद्यालय?", "कौन सा विश्व?"),
    ("he", "שָׁלוֹם לכולם", "מה זה שלום?", "מה זה שולחן?"),
    ("zh", "国会选举于五月举行。", "选举在什么时候?", "他在哪里?"),
    ("ja", "この橋の長さは三百四十メートルです。", "橋はどこ", "山へ行く"),
    ("ko", "한국어를 배우는 학생들이", "학생 수는?", "비가 온다"),
    ("th", "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย", "เมืองหลวงคืออะไร", "ใครกินข้าว"),
    ("", "The universities of Cambridge", "Which university?", "Which cam?"),
]


@pytest.mark.parametrize(("language", "stored", "question", "other"), FORMS)
def test_inflected_forms_of_a_word_match(
    language: str, stored: str, question: str, other: str
) -> None:
    languages = [language, "en", "ca"]  # of a collection; the language of a question is not known
    assert common(LEXICAL.passage(stored, language), LEXICAL.query(question, languages))
    assert not common(LEXICAL.passage(stored, language), LEXICAL.query(other, languages))


@pytest.mark.parametrize(
    ("question", "stored"),
    [
        (
            "Which bridge was closed in 1990?",
            # "The old bridges were closed in 1990."
            {219659958: 1.6418, 281464262: 1.6418, 863034212: 1.6418, 1973104364: 1.6418},
        ),
        (
            "Wurden Brücken geschlossen?",
            # "Die Brücken wurden 1990 geschlossen.": German as if it were English
            {1109731834: 1.6296, 1448994436: 1.6296, 1703657904: 1.6296, 1867255156: 1.6296},
        ),
        ("桥在五月关闭。", {1524921999: 1.6794}),
    ],
)
def test_vectors_of_earlier_versions_are_matched(question: str, stored: dict[int, float]) -> None:
    alone, among = LEXICAL.query(question), LEXICAL.query(question, ["de", "ru", "zh"])
    assert common(alone, SparseVector(tuple(stored), tuple(stored.values())))
    assert set(alone.indices) & stored.keys() <= set(among.indices)


def test_english_vectors_are_those_of_earlier_versions() -> None:
    expected = {219659958: 1.6418, 281464262: 1.6418, 863034212: 1.6418, 1973104364: 1.6418}
    for language in ("", "en"):
        found = LEXICAL.passage("The old bridges were closed in 1990.", language)
        assert dict(zip(found.indices, (round(each, 4) for each in found.values), strict=True)) == (
            expected
        )


def test_a_word_counts_once_with_several_languages() -> None:
    passage = LEXICAL.passage("Die Hauses Museum Berlin", "de")
    weights = dict(zip(passage.indices, passage.values, strict=True))
    question = LEXICAL.query("Museum Hauses Berlin", ["cs", "da", "de", "es", "fr", "nl", "sv"])
    assert len(set(question.indices)) == len(question.indices)
    assert set(question.values) == {1.0}
    assert len(weights.keys() & set(question.indices)) == 3


def test_stems_of_other_languages_have_less_weight() -> None:
    question = LEXICAL.query("Who was the founder of the universities?", ["de", "en"])
    weights = dict(zip(question.indices, question.values, strict=True))
    english, german = (LEXICAL.passage("universities", each).indices[0] for each in ("en", "de"))
    assert weights[english] > weights[german] > 0
    unclear = LEXICAL.query("founder universities", ["de", "en"])
    assert set(unclear.values) == {1.0}


def test_stop_words_of_the_question_are_ignored_in_all_languages() -> None:
    # "was" and "die" are content words elsewhere; the stop words tell that this is German.
    question = LEXICAL.query("Was hat die Brücke gekostet?", ["de", "sv", "vi"])
    for word in ("was", "die", "hat"):
        assert not common(LEXICAL.passage(word, "vi"), question)
    assert common(LEXICAL.passage("die", "vi"), LEXICAL.query("die casting", ["de", "vi"]))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Die Brücke wurde im Mai geschlossen, weil zwei Pfeiler sich bewegt hatten.", "de"),
        ("The bridge was closed in May because two of its piers had moved.", "en"),
        ("Мост закрыли в мае, потому что две его опоры сдвинулись.", "ru"),
        ("这座旧桥在五月关闭，因为它的两个桥墩移动了。", "zh"),
        ("この橋の長さは三百四十メートルです。五月に閉鎖されました。", "ja"),
        ("أغلق الجسر في مايو لأن اثنتين من ركائزه تحركتا.", "ar"),
        ("पुल मई में बंद कर दिया गया क्योंकि उसके दो खंभे हिल गए थे।", "hi"),
        ("สะพานถูกปิดในเดือนพฤษภาคมเพราะเสาสองต้นขยับ", "th"),
        ("SKU-17;42;0.5\nSKU-18;43;0.7", ""),
        ("42 kg", ""),
    ],
)
def test_the_language_of_a_document_is_detected(text: str, language: str) -> None:
    assert language_of([Chunk(0, text, 20)]) == language


@pytest.mark.anyio
async def test_each_language_of_a_collection_is_found_by_other_forms_of_its_words(
    tmp_path: Path,
) -> None:
    texts = {
        "de": ("Die Häuser am Fluss wurden verkauft.", "Haus"),  # too short to tell its language
        "ru": ("В городах построили библиотеки.", "построен город"),
        "zh": ("国会选举于五月举行。", "选举"),
        "th": ("กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย", "เมืองหลวง"),
        "en": ("The universities were founded by monks.", "university founding"),
        "": ("Los puentes antiguos", "puente"),  # as an earlier version has stored it
    }
    catalogue = new_catalogue()
    await catalogue.collections.add(CollectionEntry("alice.all", "", 0))
    store = EdgeStore(tmp_path, chunker_version=5)
    retriever = DocumentRetriever(
        store,
        FakeEmbedder(),
        RetrieverSettings(),
        versions=catalogue.documents.current,
        collections=catalogue.collections,
    )
    for language, (text, _) in texts.items():
        upload = Upload("alice.all", f"{language}.txt", 1, "0" * 64, f"job_{language}")
        begun = (await catalogue.versions.begin(upload)).document
        document = replace(begun, chunks=1, language=language)
        await retriever.publish(document, [Chunk(0, text, 12)])
        await catalogue.versions.complete(document)
        stored = await catalogue.documents.get("alice.all", document.id)
        assert stored.document.language == language
    assert (await catalogue.collections.index("alice.all")).languages == (
        *("de", "en", "ru", "th", "zh"),
    )
    for text, question in texts.values():
        found = await retriever.search([question], ["alice.all"], 1, 1000)
        assert [one.text for one in found] == [text]
    await retriever.close()


def common(stored: SparseVector, question: SparseVector) -> bool:
    return bool(set(stored.indices) & set(question.indices))
