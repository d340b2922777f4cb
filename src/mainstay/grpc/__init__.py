"""The Open Inference Protocol over gRPC. Translates in, translates out, decides nothing."""
