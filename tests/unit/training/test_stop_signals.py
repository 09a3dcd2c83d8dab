"""Handlers of signals that ask a training to stop."""

import os
import signal
import threading

import pytest

from allennlp_elmo_plus.training.stop_signals import REQUEST, STOP_SIGNALS, StopSignals


@pytest.fixture
def received():
    return []


@pytest.mark.parametrize("number", [*STOP_SIGNALS, REQUEST])
def test_the_first_signal_is_passed_on_as_a_request(received, number, capfd):
    handlers = [signal.getsignal(number) for number in (*STOP_SIGNALS, REQUEST)]
    signals = StopSignals(received.append, "it ends soon")
    signals.install()
    try:
        os.kill(os.getpid(), number)
        assert received == [number]
    finally:
        signals.restore()
    assert [signal.getsignal(number) for number in (*STOP_SIGNALS, REQUEST)] == handlers
    assert capfd.readouterr().err == f"\n{signal.Signals(number).name}: it ends soon\n"


def test_without_a_notice_nothing_is_written(received, capfd):
    signals = StopSignals(received.append, None)
    signals.install()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signals.restore()
    assert received == [signal.SIGTERM] and capfd.readouterr().err == ""


def test_the_second_signal_ends_the_process(received):
    child = os.fork()
    if not child:
        signals = StopSignals(received.append, "")
        signals.install()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGINT


@pytest.mark.parametrize("numbers", [[REQUEST, signal.SIGINT], [signal.SIGINT, REQUEST]])
def test_a_request_signal_does_not_count_as_a_second_signal(received, numbers):
    child = os.fork()
    if not child:
        signals = StopSignals(received.append, "")
        signals.install()
        for number in [*numbers, REQUEST]:
            os.kill(os.getpid(), number)
        if received != numbers[:1]:
            os._exit(1)
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def test_another_thread_installs_no_handlers(received):
    handler = signal.getsignal(signal.SIGTERM)
    signals = StopSignals(received.append, "")
    thread = threading.Thread(target=lambda: (signals.install(), signals.restore()))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is handler


def test_restore_without_install_changes_no_handler(received):
    handler = signal.getsignal(signal.SIGTERM)
    StopSignals(received.append, "").restore()
    assert signal.getsignal(signal.SIGTERM) is handler
