"""What people write that no document answers, and what they write about a document as a whole."""

GREETINGS = (
    "hi",
    "Hello!",
    "hey there",
    "Good morning",
    "How are you?",
    "thanks!",
    "Thank you very much, that helped a lot.",
    "ok, great",
    "Bye, see you tomorrow!",
    "What's your name?",
    "Who are you and what can you do?",
    "Tell me a joke.",
    "Hallo, wie geht es dir?",
    "Guten Morgen!",
    "Bonjour, comment ça va ?",
    "Merci beaucoup !",
    "Hola, ¿qué tal?",
    "Привет, как дела?",
    "你好",
    "ありがとうございます",
)
UNRELATED = (
    "How do I knit a scarf with two colours?",
    "What temperature should the oven have for lasagne?",
    "How often should I change the oil of my motorcycle?",
    "Which strings does a bass guitar have?",
    "How do I undo the last commit in git?",
    "What is the offside rule in ice hockey?",
    "How many calories are in a banana?",
    "Which camera lens is best for portraits?",
    "How do I get red wine out of a carpet?",
    "What does the error code E24 of my dishwasher mean?",
    "When should tomatoes be planted outside?",
    "How can I teach my puppy to sit?",
    "What is the exchange rate of the yen today?",
    "How do I fold a paper crane?",
    "Which screws hold plasterboard best?",
    "How do I mute notifications on my phone?",
    "What is the plot of the film Casablanca?",
    "How long does a yoga session usually last?",
    "Who won the chess tournament in Wijk aan Zee?",
    "Write a haiku about autumn leaves.",
)
ABOUT_DOCUMENTS = (
    "Summarize this document.",
    "What is this text about?",
    "What is in my files?",
    "Give me the main points, please.",
    "Can you explain the attached PDF?",
    "What are the key takeaways of the report?",
    "tl;dr",
    "Translate the document into German.",
    "Which documents do you have?",
    "Write an abstract of the paper.",
)
"""They want sources, though no passage resembles them."""

ONE_DOCUMENT = """\
The ferry to Sandholm

The ferry to Sandholm leaves from the pier at Norrvik every two hours between six in the morning and
ten in the evening. In winter the last ferry leaves at eight.

A ticket costs 40 crowns for adults and 15 crowns for children. Bicycles travel free of charge, cars
must be registered a day before.

The crossing takes 35 minutes. There is a small café on board, which sells coffee and cake.

In a storm the ferry stays in the harbour. Passengers are told by a sign at the pier and by radio.
"""
