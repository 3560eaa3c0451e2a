"""Attacks by the libraries that people compare with, on a tiny network in double precision.

Writes attacks.json beside itself; shared/tests/attacks_against_libraries.rs compares. Weights, images and starts come
from a formula that both sides evaluate; random draws are recorded. Nothing of Basin is used. Run:

    pip install torch torchattacks==3.5.1 foolbox==3.3.4 pyautoattack==0.2.0
    python3 tests/reference/attacks.py
"""

import json
import math
import pathlib

import eagerpy
import foolbox
import torch
import torch.nn.functional as F
import torchattacks
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack

torch.set_default_dtype(torch.float64)
# FAB casts images to single precision; here they stay as they are.
torch.Tensor.float = torch.Tensor.double

SHAPE = (3, 10, 10)
PIXELS = math.prod(SHAPE)
IMAGES, HIDDEN, CLASSES = 4, 12, 6
# Each so many numbers of an image are kept.
EVERY = 11


def chirp(count, phase):
    """sin(0.7 i^2 + phase) for i = 0..count."""
    i = torch.arange(count, dtype=torch.float64)
    return torch.sin(0.7 * i * i + phase)


class Network(torch.nn.Module):
    """One hidden layer of tanh. It keeps what it was asked about, where somebody listens."""

    def __init__(self):
        super().__init__()
        self.hidden = chirp(HIDDEN * PIXELS, 0.5).reshape(HIDDEN, PIXELS) * 0.25
        self.output = chirp(CLASSES * HIDDEN, 1.5).reshape(CLASSES, HIDDEN) * 2.0
        self.bias = chirp(CLASSES, 2.5) * 0.5
        self.asked = None
        self.place = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        if self.asked is not None:
            self.asked.append(x.detach().clone())
        return torch.tanh(x.flatten(1) @ self.hidden.T) @ self.output.T + self.bias


NETWORK = Network().eval()
X = 0.5 + 0.5 * chirp(IMAGES * PIXELS, 3.5).reshape(IMAGES, *SHAPE)
Y = NETWORK(X).argmax(1)
EPSILON = {"Linf": 0.009, "L2": 0.12}


def of(image):
    """Some of an image's numbers."""
    return image.flatten()[::EVERY].tolist()


def start(norm):
    """A start on the ball's surface."""
    t = chirp(X.numel(), 4.5).reshape(X.shape)
    size = t.abs().amax((1, 2, 3)) if norm == "Linf" else (t**2).sum((1, 2, 3)).sqrt()
    return (X + EPSILON[norm] * t / size.view(-1, 1, 1, 1)).clamp(0, 1)


def listened(attack):
    """What the network was asked about meanwhile."""
    NETWORK.asked = []
    result = attack()
    asked, NETWORK.asked = NETWORK.asked, None
    return result, asked


def apgd(norm, loss):
    """Every iterate, some of its numbers, with the loss there."""
    settings = dict(n_iter=30, norm=norm, eps=EPSILON[norm], device="cpu")
    if loss == "targeted dlr":
        attack = APGDAttack_targeted(NETWORK, **settings)
        attack.y_target = NETWORK(X).sort(1)[1][:, -2]
    else:
        attack = APGDAttack(NETWORK, loss=loss, **settings)
    attack.init_hyperparam(X)
    _, asked = listened(lambda: attack.attack_single_run(X, Y, x_init=start(norm)))
    measure = {
        "ce": lambda f: F.cross_entropy(f, Y, reduction="none"),
        "dlr": lambda f: attack.dlr_loss(f, Y),
        "targeted dlr": lambda f: attack.dlr_loss_targeted(f, Y),
    }[loss]
    losses = torch.stack([measure(NETWORK(x)) for x in asked])
    return [
        {
            "losses": losses[:, i].tolist(),
            # The last ones are where any difference has grown largest.
            "iterates": [of(x[i]) for x in asked[::15]],
        }
        for i in range(IMAGES)
    ]


def fab(norm, targeted):
    """Where boundaries were linearised, and the nearest image of another class."""
    attack = FABAttack_PT(NETWORK, norm=norm, n_iter=20, eps=EPSILON[norm], device="cpu")
    attack.target_class = 2
    places = []
    name = "get_diff_logits_grads_batch" + ("_targeted" if targeted else "")
    linearise = getattr(attack, name)

    def recorded(x, *others):
        places.append(x.detach().clone())
        return linearise(x, *others)

    setattr(attack, name, recorded)
    found = attack.attack_single_run(X, Y, is_targeted=targeted)
    change = (found - X).flatten(1)
    distance = change.abs().amax(1) if norm == "Linf" else change.norm(dim=1)
    return [
        {
            "distance": distance[i].item(),
            "places": [of(x[i]) for x in places[::4]],
            "found": of(found[i]),
        }
        for i in range(IMAGES)
    ]


class Recorded(SquareAttack):
    """Square, one image at a time, with its draws kept: whole numbers, and 0 or 1 for signs and turns."""

    def random_choice(self, shape):
        signs = super().random_choice(shape)
        self.draws += [int(sign > 0) for sign in signs.flatten()]
        return signs

    def random_int(self, low=0, high=1, shape=[1]):
        number = super().random_int(low, high, shape)
        self.draws += number.tolist()
        return number

    def eta(self, s):
        draw, turns = torch.rand, []

        def turned(shape):
            turns.append(draw(shape))
            return turns[-1]

        torch.rand = turned
        eta = super().eta(s)
        torch.rand = draw
        self.draws += [int(turn > 0.5) for turn in turns]
        return eta


def square(norm):
    torch.manual_seed(3)
    results = []
    for x, y in zip(X, Y):
        attack = Recorded(NETWORK, norm=norm, n_queries=40, eps=EPSILON[norm], resc_schedule=False, device="cpu")
        attack.init_hyperparam(x[None])
        attack.draws = []
        with torch.no_grad():
            queries, found = attack.attack_single_run(x[None], y[None])
            margin, _ = attack.margin_and_loss(found, y[None])
        results.append({
            "draws": attack.draws,
            "queries": int(queries.item()),
            "margin": margin.item(),
            "found": of(found[0]),
        })
    return results


def with_foolbox(attack, kept):
    model = foolbox.PyTorchModel(NETWORK, bounds=(0, 1), device="cpu")
    results = []
    # One at a time, as they end at different steps.
    for x, y in zip(X, Y):
        run = lambda: attack.run(model, eagerpy.astensor(x[None]), eagerpy.astensor(y[None]))
        found, asked = listened(run)
        found = found.raw
        results.append({
            "distance": (found - x).norm().item(),
            "found": of(found[0]),
            "places": [of(x[0]) for x in kept(asked)],
        })
    return results


def deep_fool():
    attack = foolbox.attacks.L2DeepFoolAttack(steps=50, candidates=CLASSES, overshoot=0.02)
    # First the clean image, then each step with every class but the last, which ends it, with one.
    return with_foolbox(attack, lambda asked: asked[1 :: CLASSES - 1])


def carlini_wagner():
    attack = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=4, steps=30, stepsize=0.02, confidence=0, initial_const=0.05, abort_early=False
    )
    return with_foolbox(attack, lambda asked: asked[::15])


def with_torchattacks():
    delta = 0.001 * chirp(X.numel(), 5.5).reshape(X.shape)
    noise, torch.randn_like = torch.randn_like, lambda x: delta / 0.001
    tpgd = torchattacks.TPGD(NETWORK, eps=0.02, alpha=0.005, steps=6)(X, Y)
    torch.randn_like = noise
    mim = torchattacks.MIFGSM(NETWORK, eps=0.02, alpha=0.005, steps=6, decay=0.9)(X, Y)
    return {"tpgd": [of(x) for x in tpgd], "mim": [of(x) for x in mim]}


def main():
    logits = NETWORK(X).detach()
    results = {
        "logits": logits.flatten().tolist(),
        "classes": Y.tolist(),
        "apgd": {f"{norm} {loss}": apgd(norm, loss) for norm in EPSILON for loss in ["ce", "dlr", "targeted dlr"]},
        "fab": {norm: fab(norm, False) for norm in EPSILON},
        "fab_t": {norm: fab(norm, True) for norm in EPSILON},
        "square": {norm: square(norm) for norm in EPSILON},
        "deep_fool": deep_fool(),
        "carlini_wagner": carlini_wagner(),
        "torchattacks": with_torchattacks(),
    }
    path = pathlib.Path(__file__).with_suffix(".json")
    rounded = json.loads(json.dumps(results), parse_float=lambda text: float(f"{float(text):.7g}"))
    path.write_text(json.dumps(rounded) + "\n")
    print(torch.__version__, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
