"""The load and the stop-watch for every processor alike: librdkafka, in an environment of its own.

    client.py fill     N intents into a topic, as fast as it goes
    client.py pace     intents at a rate for some seconds
    client.py latency  the same, and a receiver in another process; prints one JSON line with percentiles in ms

Latency is from the INTENDED moment of sending (open loop: a slow processor cannot slow the load down) to the moment a
read_committed consumer has the decision. With one topic for both it is that of a plain produce → consume hop.
"""

import argparse
import json
import multiprocessing
import random
import re
import time
from collections import Counter
from multiprocessing.synchronize import Event
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

PARTITIONS = 4
SYMBOLS = 1_000
INTENT_ID = re.compile(rb'"intent_id":\s?(\d+)')
MISSING_S = 3.0
"""The receiver gives up on what is missing so long after the last send and the last receipt."""
SETTLE_S = 0.3
"""And so long it waits for what should not come, when nothing is missing."""
PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def make_intents(count: int, first_id: int, accounts: int, seed: int) -> list[tuple[bytes, bytes]]:
    """Keys and JSON values; the same for the same arguments."""
    choice = random.Random(seed)
    made = []
    for number in range(first_id, first_id + count):
        account, symbol = b"ACC%06d" % choice.randrange(accounts), choice.randrange(SYMBOLS)
        value = (
            b'{"intent_id":%d,"account":"%s","symbol":"SYM%04d","side":"B","qty":%d,"price_e4":%d,"tif":"DAY",'
            b'"venue":"XPAR","strategy":"mm-%02d"}'
        ) % (number, account, symbol, choice.randint(1, 99), choice.randint(100_000, 5_000_000), symbol % 50)
        made.append((account, value))
    return made


def producer(bootstrap: str, linger_ms: int) -> Producer:
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": linger_ms,
            "batch.size": 262_144,
            "queue.buffering.max.messages": 1_000_000,
            "partitioner": "murmur2_random",
            "acks": "all",
        }
    )


def fill(options: argparse.Namespace) -> None:
    sender = producer(options.bootstrap, 50)
    chunk = 10_000
    for first in range(0, options.count, chunk):
        for key, value in make_intents(min(chunk, options.count - first), first, options.accounts, first):
            while True:
                try:
                    sender.produce(options.intents, value, key)
                    break
                except BufferError:
                    sender.poll(0.05)
        sender.poll(0)
    sender.flush()


def pace(options: argparse.Namespace, first_id: int, seed: int) -> float:
    """Sends at the rate; returns when the first one was to be sent, in seconds since the epoch."""
    intents = make_intents(round(options.rate * options.seconds), first_id, options.accounts, seed)
    sender = producer(options.bootstrap, 0)
    sender.list_topics(options.intents, timeout=10)
    began_s = time.time() + 0.2
    tick_s = 0.001 if options.rate <= 2_000 else 0.002
    sent = 0
    while sent < len(intents):
        now_s = time.time()
        due = min(len(intents), int((now_s - began_s) * options.rate) + 1) if now_s >= began_s else 0
        for key, value in intents[sent:due]:
            sender.produce(options.intents, value, key)
        sent = max(sent, due)
        sender.poll(0)
        time.sleep(max(0.0, max(began_s + sent / options.rate, now_s + tick_s) - time.time()))
    sender.flush()
    return began_s


def receive(bootstrap: str, topic: str, count: int, ready: Event, sent: Event, results: Any) -> None:
    """Collects (receipt in ns, ids) of what is committed from now on, ``count`` if all goes well."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench-receiver",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 5,
            "fetch.error.backoff.ms": 1,
            "enable.auto.commit": False,
        }
    )
    ends = (TopicPartition(topic, number) for number in range(PARTITIONS))
    consumer.assign(
        [TopicPartition(topic, e.partition, consumer.get_watermark_offsets(e, timeout=10)[1]) for e in ends]
    )
    consumer.consume(1, timeout=1.0)
    ready.set()
    received: list[tuple[int, list[bytes]]] = []
    seen = 0
    quiet_since = 0.0
    while not quiet_since or time.time() - quiet_since < (SETTLE_S if seen >= count else MISSING_S):
        if messages := consumer.consume(500, timeout=0.001):
            received.append((time.time_ns(), [message.value() for message in messages]))
            seen += len(messages)
            quiet_since = 0.0
        elif sent.is_set():
            quiet_since = quiet_since or time.time()
    consumer.close()
    found = ((at, INTENT_ID.search(value)) for at, values in received for value in values)
    results.put([(int(match[1]), at) for at, match in found if match])


def latency(options: argparse.Namespace) -> None:
    context = multiprocessing.get_context("fork")
    ready, sent, results = context.Event(), context.Event(), context.Queue()
    options.seconds += options.warm
    count, warm = round(options.rate * options.seconds), round(options.rate * options.warm)
    arguments = (options.bootstrap, options.decisions, count, ready, sent, results)
    receiver = context.Process(target=receive, args=arguments, daemon=True)
    receiver.start()
    if not ready.wait(30):
        raise SystemExit("the receiver did not become ready")
    first_id = int(time.time()) * 1_000_000
    began_s = pace(options, first_id, seed=first_id)
    sent.set()
    received: list[tuple[int, int]] = results.get()
    receiver.join()
    first: dict[int, int] = {}
    times = Counter(number - first_id for number, _ in received if 0 <= number - first_id < count)
    for number, at in received:
        first.setdefault(number - first_id, at)
    ms = sorted((at / 1e9 - began_s - n / options.rate) * 1e3 for n, at in first.items() if warm <= n < count)
    result: dict[str, Any] = {"rate": options.rate, "sent": count, "received": len(times)}
    result["twice"] = sum(1 for seen in times.values() if seen > 1)
    result["from_s"], result["to_s"] = began_s + options.warm, began_s + options.seconds
    result |= {name: round(ms[int(len(ms) * share)], 2) for name, share in PERCENTILES.items() if ms}
    print(json.dumps(result), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("fill", "pace", "latency"))
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--intents", required=True, help="topic")
    parser.add_argument("--decisions", default="", help="topic; for latency")
    parser.add_argument("--count", type=int, default=0, help="for fill")
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=0.0, help="per second; for pace and latency")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--warm", type=float, default=0.0, help="seconds before the measured ones")
    parser.add_argument("--seed", type=int, default=1, help="for pace")
    options = parser.parse_args()
    if options.command == "fill":
        fill(options)
    elif options.command == "pace":
        pace(options, 0, options.seed)
    else:
        latency(options)


if __name__ == "__main__":
    main()
