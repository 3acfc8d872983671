#!/usr/bin/python3
"""Prefill and decode of OpenVINO GenAI on a GGUF file; run by the suite in an environment that has openvino-genai.

Prints one line of JSON: {"rows": [{"row": "prefill", "tokens": N, "tokens_per_s": [...]}, {"row": "decode", ...}]}
Prefill is the prompt's length over the time to the first token; decode is one over the mean time of each further one.
"""
import argparse
import json
import random
import sys

import numpy
import openvino
import openvino_genai


class Runner:
    def __init__(self, args):
        self.random = random.Random(args.seed)
        properties = {"INFERENCE_NUM_THREADS": args.threads, "KV_CACHE_PRECISION": "f16"}
        if args.precision:
            properties["INFERENCE_PRECISION_HINT"] = args.precision
        if args.no_dynamic_quantization:
            properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
        self.pipeline = openvino_genai.LLMPipeline(args.model, "CPU", **properties)

    def generate(self, prompt_tokens, new_tokens):
        """(seconds to the first token, mean seconds of each further one)"""
        # Ids that every model of the comparison has, none of them a control token.
        ids = numpy.array([[self.random.randrange(300, 1800) for _ in range(prompt_tokens)]], dtype=numpy.int64)
        inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(numpy.ones_like(ids)))
        config = openvino_genai.GenerationConfig(max_new_tokens=new_tokens, min_new_tokens=new_tokens, ignore_eos=True,
                                                 do_sample=False)
        metrics = self.pipeline.generate(inputs, config).perf_metrics
        return metrics.get_ttft().mean / 1e3, metrics.get_tpot().mean / 1e3


def numbers(text):
    return [int(n) for n in text.split(",")]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--gen-tokens", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--precision", help="of activations between products (default: what it chooses for the CPU)")
    parser.add_argument("--no-dynamic-quantization", action="store_true", help="activations in f32 within products too")
    parser.add_argument("--prefill", type=numbers, default=[])
    parser.add_argument("--decode", type=numbers, default=[])
    args = parser.parse_args()
    runner = Runner(args)
    first = min([32, *args.prefill])
    runner.generate(first, 1 if first == 1 else 4)  # warms up
    rows = []
    for tokens in args.prefill:
        rates = [tokens / runner.generate(tokens, 1)[0] for _ in range(args.repetitions)]
        rows.append({"row": "prefill", "tokens": tokens, "tokens_per_s": rates})
    for context in args.decode:
        rates = [1 / runner.generate(max(context, 1), args.gen_tokens)[1] for _ in range(args.repetitions)]
        rows.append({"row": "decode", "context": context, "tokens_per_s": rates})
    print(json.dumps({"rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
