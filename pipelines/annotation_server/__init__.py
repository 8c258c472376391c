"""The local page on which a person watches episodes and judges each with one key.

queue.py      which episodes wait, of which run
session.py    the state of one sitting: what is current, what was chosen, undo
film.py       episodes as sheets of JPEG frames
requests.py   HTTP: who may ask, what is asked, what is answered
serve.py      the server from start to summary
page/         the page itself: HTML, script and style, nothing from outside

Must not know any model, nor the detector's verdict: it would lead the person.
"""
