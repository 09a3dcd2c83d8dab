"""A local web page to look into a biLM: type a sentence and see what the model makes of each word.

A request (`request`) -> what the model computes (`explorer`) -> the page (`page`) -> the browser (`server`). The page needs no
JavaScript: each click is a link with the sentences in its address, so any view can be kept as a bookmark.
"""
