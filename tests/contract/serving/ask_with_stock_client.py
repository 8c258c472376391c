"""Run by the stock client's own interpreter (.envs/openpi): one robot that asks the same few things again and again.

    python ask_with_stock_client.py HOST PORT QUESTIONS.npz ANSWERS.npy REQUESTS [TOKEN]

Knows openpi-client and numpy only.
"""

import sys

import numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.websocket_client_policy import WebsocketClientPolicy


def main() -> None:
    host, port, questions, answers, count, *token = sys.argv[1:]
    asked = np.load(questions)
    names = [name for name in asked.files if name not in ("prompt", "noise_seed")]
    client = WebsocketClientPolicy(host, int(port), api_key=token[0] if token else None)
    wanted = set(client.get_server_metadata()["observation"])
    assert wanted == set(names), (wanted, names)

    def question(row: int) -> dict:
        fields = {name: asked[name][row] for name in names}
        return {**fields, "prompt": str(asked["prompt"][row]), "noise_seed": int(asked["noise_seed"][row])}

    rows = len(asked["noise_seed"])
    got = [client.infer(question(number % rows))["actions"] for number in range(int(count))]
    told = ""
    try:
        client.infer({"prompt": "nothing to see"})
    except RuntimeError as error:
        told = str(error)
    assert "observation: no observation/state" in told, told
    broker = ActionChunkBroker(client, action_horizon=3)
    step = [broker.infer(question(0))["actions"] for _ in range(3)]
    assert np.abs(np.stack(step) - got[0][:3]).max() < 1e-5
    np.save(answers, np.stack(got))


if __name__ == "__main__":
    main()
