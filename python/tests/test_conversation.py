"""What is sent again, what is taken as arrived, what is answered in the kernel's stead."""

import json

from elastichub.notebook import conversation
from elastichub.notebook.conversation import Conversation
from peer import message


def kinds(messages):
    return [(m.channel, m.header()["msg_type"]) for m in messages]


def execute(code="1"):
    return message("shell", "execute_request", {"code": code}, session="page")


def ids(talk):
    return [s.id for s in talk.unwritten()]


def test_what_was_sent_is_sent_again_until_the_kernel_shows_a_sign():
    talk = Conversation()
    first, second = execute(), execute()
    for sent in (first, second):
        assert talk.say(sent) is None
    assert ids(talk) == [first.header()["msg_id"], second.header()["msg_id"]]
    for sent in talk.unwritten():
        sent.written = True
    assert ids(talk) == []
    talk.heard(message("iopub", "status", {"execution_state": "busy"}, first.header()), 1)
    talk.reconnected()
    assert ids(talk) == [second.header()["msg_id"]]
    assert talk.held == second.size


def test_a_sign_of_the_gateway_is_none_of_the_kernel():
    talk = Conversation()
    sent = execute()
    talk.say(sent)
    talk.heard(message("iopub", "display_data", {}, sent.header()), 0)
    assert ids(talk) == [sent.header()["msg_id"]]
    # But what it has answered in the kernel's stead the kernel is never to get.
    talk.heard(message("shell", "execute_reply", {"status": "error"}, sent.header()), 0)
    assert ids(talk) == []
    assert (talk.held, len(talk.open)) == (0, 0)


def test_messages_that_nothing_answers_are_settled_by_what_comes_after_them():
    talk = Conversation()
    comm = message("shell", "comm_msg", {}, session="page")
    control = message("control", "comm_msg", {}, session="page")
    later = execute()
    for sent in (comm, control, later):
        talk.say(sent)
    talk.heard(message("iopub", "status", {"execution_state": "busy"}, later.header()), 1)
    assert ids(talk) == [control.header()["msg_id"]], "the other channel is another order"


def test_an_answer_to_input_is_settled_with_its_request():
    talk = Conversation()
    sent = execute("input")
    talk.say(sent)
    talk.heard(message("stdin", "input_request", {}, sent.header()), 1)
    answer = message("stdin", "input_reply", {"value": "x"}, sent.header(), session="page")
    talk.say(answer)
    talk.heard(message("iopub", "stream", {"text": "of a thread"}, sent.header()), 2)
    assert ids(talk) == [answer.header()["msg_id"]]
    talk.heard(message("shell", "execute_reply", {}, sent.header()), 3)
    assert ids(talk) == []


def test_numbers_are_taken_once_and_begin_anew_with_an_epoch():
    talk = Conversation()
    assert talk.hello("a") == []
    assert [talk.takes(n) for n in (1, 2, 2, 1, 5, 0, 0)] == [
        True,
        True,
        False,
        False,
        True,
        True,
        True,
    ]
    assert (talk.epoch, talk.last) == ("a", 5)
    assert talk.hello("a") == []
    assert talk.last == 5
    talk.hello("b")
    assert (talk.epoch, talk.last) == ("b", 0)
    assert talk.takes(1)


def test_what_a_process_took_with_it_is_answered_and_nothing_else():
    talk = Conversation()
    talk.hello("a")
    done, replied, running, waiting = (execute() for _ in range(4))
    info = message("shell", "kernel_info_request", {}, session="page")
    for sent in (done, replied, running, info, waiting):
        talk.say(sent)
    busy, idle = {"execution_state": "busy"}, {"execution_state": "idle"}
    number = 0
    for sent in (done, replied, running, info):
        number += 1
        talk.heard(message("iopub", "status", busy, sent.header()), number)
    for sent in (done, replied):
        talk.heard(message("shell", "execute_reply", {}, sent.header()), number)
    talk.heard(message("iopub", "status", idle, done.header()), number)
    died = talk.hello("b")
    assert [s.id for s in died] == [m.header()["msg_id"] for m in (replied, running, info)]
    assert kinds(talk.refuse(died[0], "KernelDied", "It died.")) == [("iopub", "status")]
    answers = talk.refuse(died[1], "KernelDied", "It died.")
    assert kinds(answers) == [
        ("iopub", "status"),
        ("iopub", "error"),
        ("shell", "execute_reply"),
        ("iopub", "status"),
    ]
    for answer in answers:
        assert answer.parent() == running.header()
        assert answer.header()["session"] == "kernel", "it speaks as the kernel"
    assert answers[1].content() == {
        "ename": "KernelDied",
        "evalue": "It died.",
        "traceback": ["KernelDied: It died."],
    }
    assert answers[2].content()["status"] == "error"
    assert answers[2].content()["execution_count"] == 0
    assert [a.content().get("execution_state") for a in answers] == ["busy", None, None, "idle"]
    assert kinds(talk.refuse(died[2], "KernelDied", "It died."))[1] == (
        "shell",
        "kernel_info_reply",
    )
    # What it had not taken up is for the next process.
    talk.reconnected()
    assert ids(talk) == [waiting.header()["msg_id"]]


def test_what_is_held_is_bounded(monkeypatch):
    monkeypatch.setattr(conversation, "MAX_HELD", 1000)
    talk = Conversation()
    big = message("shell", "execute_request", {"code": "x" * 600}, session="page")
    assert talk.say(big) is None
    refused = talk.say(message("shell", "execute_request", {"code": "x" * 600}, session="page"))
    assert kinds(refused)[2] == ("shell", "execute_reply")
    assert json.loads(refused[2].parts[3])["ename"] == "TooMuchWaiting"
    assert talk.say(big) is None, "it is there already"
    talk.heard(message("iopub", "status", {"execution_state": "busy"}, big.header()), 1)
    assert talk.held == 0


def test_a_kernel_that_never_finishes_does_not_fill_the_list(monkeypatch):
    monkeypatch.setattr(conversation, "MAX_OPEN", 3)
    talk = Conversation()
    for number in range(1, 10):
        sent = execute()
        assert talk.say(sent) is None
        talk.heard(message("iopub", "status", {"execution_state": "busy"}, sent.header()), number)
    assert len(talk.open) == 3


def test_without_numbers_nothing_is_sent_twice():
    talk = Conversation()
    written, waiting = execute(), execute()
    talk.say(written)
    talk.give(talk.unwritten()[0])
    talk.say(waiting)
    talk.reconnected()
    assert ids(talk) == [waiting.header()["msg_id"]]


def test_headers_of_any_shape():
    talk = Conversation()
    for header in ({}, {"msg_id": 5}, [], "x", None):
        odd = message("shell", "x", {})
        odd.parts[0] = json.dumps(header).encode()
        odd.parts[1] = b"not json"
        assert talk.say(odd) is None
        talk.heard(odd, 1)
    assert len(talk.unwritten()) == 5
