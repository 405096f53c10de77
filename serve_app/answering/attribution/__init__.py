"""Attribution: which source supports each sentence of an answer."""
