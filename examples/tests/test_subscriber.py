"""The subscriber against a real broker: away, killed, a gap, an event that is gone for ever."""
import json
import sqlite3
import tempfile
import unittest
from pathlib import Path

from world import Broker, Device, Program, wait


class Subscribed(unittest.TestCase):
    def setUp(self):
        self.broker = Broker()
        self.addCleanup(self.broker.close)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.database = Path(folder.name) / "events.sqlite"

    def start(self, *more):
        program = Program("subscriber/subscriber.py", "--port", self.broker.port, "--client-id", "desk",
                          "--database", self.database, "--ask-again-s", "0.5", *more)
        self.addCleanup(program.kill)
        wait("it is connected", lambda: program.said("connected"))
        return program

    def seqs(self, program):
        return [json.loads(line)["seq"] for line in program.out]

    def kept(self):
        with sqlite3.connect(self.database) as db:
            return [seq for (seq,) in db.execute("SELECT seq FROM event ORDER BY seq")]

    def heard_once(self):
        """A device whose first event a subscriber has heard, which is gone since."""
        device = Device(self.broker)
        self.addCleanup(device.close)
        first = self.start()
        device.event(1)
        wait("the first event", lambda: self.seqs(first) == [1])
        first.kill()
        return device

    def test_nothing_is_lost_while_away_and_nothing_told_twice(self):
        device = self.heard_once()
        for seq in (2, 3, 4):
            device.event(seq)
        second = self.start()
        wait("what came meanwhile", lambda: self.seqs(second) == [2, 3, 4])
        # A device that was not answered sends again, under the same id.
        device.say(*device.sent[3])
        device.event(5)
        wait("the next", lambda: self.seqs(second) == [2, 3, 4, 5])
        self.assertTrue(second.said("session kept: True"))

    def test_a_gap_is_filled_by_a_replay_and_what_is_gone_is_named(self):
        device = Device(self.broker, gone=[4])
        self.addCleanup(device.close)
        program = self.start()
        device.event(1)
        for seq in (2, 3, 4):
            device.event(seq, say=False)
        device.event(5)
        wait("the gap is filled", lambda: self.kept() == [1, 2, 3, 5])
        replayed = [json.loads(line)["seq"] for line in program.out if json.loads(line)["replay"]]
        self.assertEqual(replayed, [2, 3])
        wait("what is gone is named", lambda: program.said("ct-1: events 4 to 4 are lost"))
        # Later events are not asked for: `info` names the next number.
        device.event(6, say=False)
        device.info(next_seq=7)
        wait("what info tells of", lambda: self.kept() == [1, 2, 3, 5, 6])

    def test_who_comes_late_may_have_all_that_is_kept(self):
        device = Device(self.broker)
        self.addCleanup(device.close)
        for seq in (1, 2, 3):
            device.event(seq, say=False)
        device.info(next_seq=4)
        program = self.start("--from-beginning")
        wait("all of it", lambda: sorted(self.seqs(program)) == [1, 2, 3])

    def test_what_a_broker_forgot_is_asked_for_at_once_and_a_new_one_hears_nothing_old(self):
        device = self.heard_once()
        # Sent while the broker kept nothing for it, after the device's last `info`.
        for seq in (2, 3):
            device.event(seq, say=False)
        second = self.start("--client-id", "desk-2")
        wait("what was forgotten", lambda: self.seqs(second) == [2, 3])
        self.assertTrue(second.said("session kept: False"))
        second.kill()
        self.database = self.database.with_name("new.sqlite")
        device.info(next_seq=2)
        third = self.start("--client-id", "desk-3")
        device.event(4)
        wait("the first that it hears", lambda: self.seqs(third) == [4])
        # Another program asks for what was before.
        topic, old = device.sent[1]
        device.say(topic, {**old, "replay": True})
        device.event(5)
        wait("the next", lambda: self.seqs(third) == [4, 5])

    def test_a_message_that_is_none_holds_up_no_other(self):
        device = Device(self.broker)
        self.addCleanup(device.close)
        program = self.start()
        device.say("hepalert/v1/ct-1/event/alert", "no JSON")
        device.say("hepalert/v1/ct-1/event/alert", "{}")
        device.event(1)
        wait("the good one", lambda: self.seqs(program) == [1])
        self.assertTrue(program.said("not as the contract says"))


if __name__ == "__main__":
    unittest.main()
