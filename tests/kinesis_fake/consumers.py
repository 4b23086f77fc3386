"""Operations on fan-out consumers: registering, describing, listing, deregistering."""

from kinesis_fake.account import Account
from kinesis_fake.errors import in_use, invalid, limit_exceeded, not_found
from kinesis_fake.stream import Consumer, Stream
from kinesis_fake.tokens import PageToken, open_page, seal
from kinesis_fake.wire import ListStreamConsumers, OnConsumer, RegisterStreamConsumer


def register(account: Account, call: RegisterStreamConsumer) -> dict[str, object]:
    stream, name = account.stream_of(call.stream_arn), call.consumer_name
    if name in stream.consumers:
        raise in_use(f"Consumer {name} already exists on stream {stream.name}.")
    if len(stream.consumers) >= account.limits.consumers_max:
        raise limit_exceeded(f"Stream {stream.name} has {account.limits.consumers_max} consumers already.")
    now_ms = account.now_ms()
    consumer = Consumer(name, f"{stream.arn}/consumer/{name}:{now_ms // 1000}", now_ms)
    stream.consumers[name] = consumer
    answer: dict[str, object] = {"Consumer": _described(consumer)}

    def finish() -> None:
        consumer.status = "ACTIVE"

    account.after(account.timing.consumer_s, finish)
    return answer


def describe(account: Account, call: OnConsumer) -> dict[str, object]:
    stream, consumer = _named(account, call)
    return {"ConsumerDescription": {**_described(consumer), "StreamARN": stream.arn}}


def list_all(account: Account, call: ListStreamConsumers) -> dict[str, object]:
    stream = account.stream_of(call.stream_arn)
    page = call.next_token and open_page(call.next_token, account.now_ms(), account.timing.token_s)
    after = page.after if page else ""
    consumers = sorted((one for name, one in stream.consumers.items() if name > after), key=lambda one: one.name)
    shown = consumers[: call.max_results]
    answer: dict[str, object] = {"Consumers": [_described(consumer) for consumer in shown]}
    if len(shown) < len(consumers):
        answer["NextToken"] = seal(PageToken(stream.name, shown[-1].name, None, account.now_ms()))
    return answer


def deregister(account: Account, call: OnConsumer) -> None:
    stream, consumer = _named(account, call)
    consumer.status = "DELETING"

    def finish() -> None:
        stream.consumers.pop(consumer.name, None)
        for (arn, _), seat in list(account.subscriptions.items()):
            if arn == consumer.arn:
                seat.give_up("ResourceNotFoundException", f"Consumer {arn} not found.")

    account.after(account.timing.consumer_s, finish)


def _named(account: Account, call: OnConsumer) -> tuple[Stream, Consumer]:
    if call.consumer_arn:
        return account.consumer(call.consumer_arn)
    if not (call.stream_arn and call.consumer_name):
        raise invalid("Either ConsumerARN, or StreamARN and ConsumerName should be provided.")
    stream = account.stream_of(call.stream_arn)
    if call.consumer_name not in stream.consumers:
        raise not_found(f"Consumer {call.consumer_name} of stream {stream.name} not found.")
    return stream, stream.consumers[call.consumer_name]


def _described(consumer: Consumer) -> dict[str, object]:
    return {
        "ConsumerName": consumer.name,
        "ConsumerARN": consumer.arn,
        "ConsumerStatus": consumer.status,
        "ConsumerCreationTimestamp": consumer.created_ms / 1000,
    }
