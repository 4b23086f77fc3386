"""Amazon Kinesis as the stream that many machines share."""
