"""Losses of the training methods with their gradients, attacks, chains and optimisers, computed by
PyTorch in double precision.

Writes methods.json beside itself; trainer/src/golden.rs compares. Weights and images come from a
formula that both sides evaluate. Each loss is written from its paper or its authors' published code,
not from Basin's. Run:

    python3 tests/reference/methods.py        (PyTorch 2.x)
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F

from wide_resnet import WideResNet, wave

torch.set_default_dtype(torch.float64)

SHAPE = (5, 1, 8, 8)
Y = torch.tensor([0, 3, 1, 2, 0])
SAMPLE_Y = torch.tensor([1, 1, 2, 3, 0])
CLASSES = 4


def images(phase, low=0.0, high=1.0, shape=SHAPE):
    unit = (wave(math.prod(shape), phase).reshape(shape) + 1) / 2
    return low + (high - low) * unit


X = images(0.3, 0.2, 0.8)
# Far enough for a divergence that matters in the losses.
X_ADV = images(1.1, 0.1, 0.9)
DATA = images(0.7)
SAMPLE = images(2.1)
DELTA = 0.05 * wave(X.numel(), 2.9).reshape(SHAPE)


def model():
    net = WideResNet(10, 1, 1, CLASSES, F.silu, 0.5, 0.25)
    # So that the logits of an image and of its adversarial example differ.
    net.weights["class_output.weight"] *= 8
    return net


def energy(f):
    return -torch.logsumexp(f, 1)


def joint(f, y):
    return -f[torch.arange(len(y)), y]


def kl(f, f_adv):
    """sum KL(softmax f || softmax f_adv) of each example."""
    return F.kl_div(F.log_softmax(f_adv, 1), F.softmax(f, 1), reduction="none").sum(1)


def trades(net, beta=6.0, smoothing=0.0):
    f, f_adv = net(X), net(X_ADV)
    return F.cross_entropy(f, Y, label_smoothing=smoothing) + beta * kl(f, f_adv).sum() / len(Y)


def mart(net, beta=6.0):
    f, f_adv = net(X), net(X_ADV)
    p_adv, p = F.softmax(f_adv, 1), F.softmax(f, 1)
    best_two = torch.argsort(p_adv, 1)[:, -2:]
    wrong = torch.where(best_two[:, -1] == Y, best_two[:, -2], best_two[:, -1])
    adversarial = F.cross_entropy(f_adv, Y) + F.nll_loss(torch.log(1.0001 - p_adv + 1e-12), wrong)
    divergence = F.kl_div(torch.log(p_adv + 1e-12), p, reduction="none").sum(1)
    doubt = 1.0000001 - p[torch.arange(len(Y)), Y]
    return adversarial + beta * (divergence * doubt).mean()


def mail_trades(net, beta=5.0, slope=1.0, bias=-1.5):
    f, f_adv = net(X), net(X_ADV)
    p_adv = F.softmax(f_adv, 1).detach()
    right = p_adv[torch.arange(len(Y)), Y]
    others = p_adv.clone()
    others[torch.arange(len(Y)), Y] = -1
    weight = 3 * torch.sigmoid(slope * (others.max(1).values - right + bias))
    return F.cross_entropy(f, Y) + beta * (weight * kl(f, f_adv)).mean()


def weat(net, natural, beta=6.0):
    f, f_adv = net(X), net(X_ADV)
    weight = (1 / F.softplus(energy(f).abs())).detach()
    cross_entropy = F.cross_entropy(f if natural else f_adv, Y, reduction="none")
    return (weight * cross_entropy + beta * weight * kl(f, f_adv)).mean()


def hybrid(net, conditional=1.0, marginal=1.0, penalty=0.1):
    e_data, e_sample = energy(net(DATA)), energy(net(SAMPLE))
    contrast = e_data.mean() - e_sample.mean()
    squares = (e_data**2).mean() + (e_sample**2).mean()
    return conditional * F.cross_entropy(net(X), Y) + marginal * contrast + penalty * squares


def igebm(net, penalty=1.0):
    e_data, e_sample = joint(net(X), Y), joint(net(SAMPLE), SAMPLE_Y)
    return e_data.mean() - e_sample.mean() + penalty * ((e_data**2).mean() + (e_sample**2).mean())


def dat(net, weight=1.0):
    bce = F.binary_cross_entropy_with_logits
    real, other = -energy(net(DATA)), -energy(net(SAMPLE))
    told = bce(real, torch.ones_like(real)) + bce(other, torch.zeros_like(other))
    return F.cross_entropy(net(X_ADV), Y) + weight * told


def jeat(net):
    """Algorithm 1: the two E(x_adv) cancel."""
    return (joint(net(X_ADV), Y) - energy(net(SAMPLE))).mean()


def dsm(net, slope=0.6, difference=0.5, score=3.0, value=0.05, noisy=0.5):
    """Adversarial cross-entropy and denoising score matching with exact second derivatives, on twenty
    images. The first twelve noisy ones have E(x, y), the others E(x). Their values and logits are
    taken at the two points `difference` to both sides of each, along the residual."""
    shape = (20, 1, 8, 8)
    x, x_adv, x_noisy = images(0.3, 0.2, 0.8, shape), images(1.1, 0.1, 0.9, shape), images(2.5, 0.0, 1.0, shape)
    y = Y.repeat(4)
    kinds = lambda f: torch.cat([joint(f[:12], y[:12]), energy(f[12:])])
    length = lambda t: t.flatten(1).norm(dim=1)
    away = x_noisy - x
    point = x_noisy.clone().requires_grad_()
    (g,) = torch.autograd.grad(kinds(net(point)).sum(), point, create_graph=True)
    residual = g - slope * away / length(away)[:, None, None, None]
    v = (residual / length(residual)[:, None, None, None]).detach() * difference
    total = F.cross_entropy(net(x_adv), y) + score * (length(residual) ** 2).mean() / slope**2
    for point in (x_noisy + v, x_noisy - v):
        f, d = net(point), length(point - x)
        off = ((kinds(f) - slope * d) ** 2).clamp(max=400)
        classified = F.cross_entropy(f, y, reduction="none") * (d < 4.07)
        total = total + value * off.mean() / 2 + noisy * classified.mean() / 2
    return total


LOSSES = {
    "standard": lambda net: F.cross_entropy(net(X), Y),
    "standard-smoothed": lambda net: F.cross_entropy(net(X), Y, label_smoothing=0.1),
    "trades": trades,
    "trades-smoothed": lambda net: trades(net, smoothing=0.1),
    "mart": mart,
    "mail-trades": mail_trades,
    "weat-nat": lambda net: weat(net, True),
    "weat-adv": lambda net: weat(net, False),
    "jem": hybrid,
    "igebm": igebm,
    "dat": dat,
    "jeat": jeat,
}


def tracked():
    net = model()
    for name in net.weights:
        net.weights[name] = net.weights[name].clone().requires_grad_()
    return net


def gradients(net, loss):
    names = sorted(net.weights)
    return dict(zip(names, torch.autograd.grad(loss, [net.weights[name] for name in names])))


def report(net, loss):
    grads = gradients(net, loss)
    return {
        "loss": loss.item(),
        "norms": {name: g.norm().item() for name, g in grads.items()},
        "conv1": grads["conv1.weight"].flatten().tolist(),
        "head": grads["class_output.weight"].flatten().tolist(),
    }


def dsm_report():
    """With a sample of the whole gradient, its parameters in the order of their names."""
    net = tracked()
    # Gentler, so that its energy curves over distances about as much as a trained network's does.
    for name, weight in net.weights.items():
        if weight.dim() == 4:
            net.weights[name] = (weight.detach() * 0.7).requires_grad_()
    loss = dsm(net)
    grads = gradients(net, loss)
    whole = torch.cat([grads[name].flatten() for name in sorted(grads)])
    return {"loss": loss.item(), "norm": whole.norm().item(), "every_53rd": whole[::53].tolist()}


def sam(rho, adaptive):
    """The gradient of the cross-entropy at the weights of SAM's first step."""
    net = tracked()
    grads = gradients(net, F.cross_entropy(net(X), Y))
    scale = {n: net.weights[n].detach().abs() if adaptive else 1.0 for n in grads}
    norm = torch.sqrt(sum(((scale[n] * g) ** 2).sum() for n, g in grads.items()))
    for name, g in grads.items():
        moved = net.weights[name].detach() + rho * scale[name] ** 2 * g / norm
        net.weights[name] = moved.requires_grad_()
    return report(net, F.cross_entropy(net(X), Y))


def input_gradient(net, x, of):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(of(net(x)).sum(), x)[0]


def ascent(of, norm, epsilon, step, steps=5):
    """PGD from X + DELTA."""
    net, x = model(), X + DELTA
    for _ in range(steps):
        g = input_gradient(net, x, of)
        flat = lambda t: t.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
        delta = x + step * (g.sign() if norm == "linf" else g / flat(g)) - X
        if norm == "linf":
            delta = delta.clamp(-epsilon, epsilon)
        else:
            delta = delta / (flat(delta) / epsilon).clamp_min(1)
        x = (X + delta).clamp(0, 1)
    return x.flatten().tolist()


def free():
    net = model()
    g = input_gradient(net, X + DELTA, lambda f: F.cross_entropy(f, Y))
    return (DELTA + 0.06 * g.sign()).clamp(-0.06, 0.06).flatten().tolist()


def philox(counter, key):
    """Philox4x32-10 (Salmon et al. 2011)."""
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            (b >> 32) ^ counter[1] ^ key[0],
            b & 0xFFFFFFFF,
            (a >> 32) ^ counter[3] ^ key[1],
            a & 0xFFFFFFFF,
        ]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


def normals(key, count):
    """As many normal numbers as asked for, by Box and Muller from 24-bit fractions."""
    numbers = []
    for block in range(-(-count // 4)):
        words = [word >> 8 for word in philox([block, 0, 0, 0], key)]
        u = [word / 2**24 for word in words]
        for a, b in ((u[0], u[1]), (u[2], u[3])):
            radius = math.sqrt(-2 * math.log(1 - a))
            numbers += [radius * math.cos(2 * math.pi * b), radius * math.sin(2 * math.pi * b)]
    return torch.tensor(numbers[:count])


def fold_in(key, data):
    """The key for a number under a key."""
    return philox([data, 0, 0x6B657973, 1], key)[:2]


def chain(step, noise, friction, clamp_gradient):
    """20 steps of SGLD on E(x, y) from X, under key 7."""
    net, x, v = model(), X.clone(), torch.zeros(SHAPE)
    for key in (fold_in([7, 0], number) for number in range(20)):
        g = input_gradient(net, x, lambda f: joint(f, Y))
        if clamp_gradient is not None:
            g = g.clamp(-clamp_gradient, clamp_gradient)
        v = friction * v - step * g
        x = (x + v + noise * normals(key, x.numel()).reshape(SHAPE)).clamp(0, 1)
    return x.flatten().tolist()


def pyld(outer=2, inner=5, alpha=0.05, limit=0.8):
    """With the inner gradient taken through the first layer alone, as the paper does."""
    net, x = model(), X.clone()
    weight, bias = net.weights["conv1.weight"], net.weights["conv1.bias"]
    layer = lambda x: F.conv2d((x - net.mean) / net.std, weight, bias, padding=1)
    plain = net.conv
    for _ in range(outer):
        hidden = layer(x).detach().requires_grad_()
        net.conv = lambda name, z, stride=1: hidden if name == "conv1" else plain(name, z, stride)
        (p,) = torch.autograd.grad(energy(net(x)).sum(), hidden)
        net.conv = plain
        for _ in range(inner):
            z = x.clone().requires_grad_()
            (g,) = torch.autograd.grad((layer(z) * p).sum(), z)
            x = (x - alpha * g.clamp(-limit, limit)).clamp(0, 1)
    return x.flatten().tolist()


def optimiser(make, rates):
    """class_output.bias after each step on the cross-entropy."""
    net = tracked()
    names = sorted(net.weights)
    optimiser = make([net.weights[name] for name in names])
    trace = []
    for rate in rates:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        F.cross_entropy(net(X), Y).backward()
        optimiser.step()
        trace.append(net.weights["class_output.bias"].detach().tolist())
    return trace


def schedule(make, iterations):
    """The rate of each iteration; PyTorch's rates are factors of, or replace, a rate of 1."""
    optimiser = torch.optim.SGD([torch.zeros(1)], 1.0, momentum=0.9)
    scheduler = make(optimiser)
    rates = []
    for _ in range(iterations):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def schedules():
    """Of 40 iterations, the first 8 of them warm-up where there is one. Ours rises and falls from one
    step before the run to its last step; PyTorch's from the first step to one after the last. So its
    cyclic rate is taken one step late, and the other parts are one step shorter."""
    rate = torch.optim.lr_scheduler
    rise = lambda o: rate.LinearLR(o, 1 / 8, 1.0, total_iters=7)
    return {
        "triangular": schedule(
            lambda o: rate.CyclicLR(o, 0.0, 0.2, step_size_up=16, step_size_down=24), 41
        )[1:],
        "triangular_to_a_rate": schedule(
            lambda o: rate.SequentialLR(
                o, [rise(o), rate.LinearLR(o, 1.0, 0.1, total_iters=32)], milestones=[7]
            ),
            40,
        ),
        "cosine": schedule(
            lambda o: rate.SequentialLR(
                o, [rise(o), rate.CosineAnnealingLR(o, 32, eta_min=0.1)], milestones=[7]
            ),
            40,
        ),
        "multi_step": schedule(
            lambda o: rate.ChainedScheduler([rise(o), rate.MultiStepLR(o, [20, 30], gamma=0.3)]), 40
        ),
        "one_cycle": schedule(
            lambda o: rate.OneCycleLR(o, 0.1, total_steps=40, pct_start=0.25), 40
        ),
    }


def average(decay, rates):
    """class_output.bias of the averaged weights after each step of SGD on the cross-entropy; of
    update t the decay is at most (1 + t) / (10 + t)."""
    net = tracked()
    names = sorted(net.weights)
    parameters = torch.nn.ParameterList([torch.nn.Parameter(net.weights[name]) for name in names])
    net.weights = dict(zip(names, parameters))
    blend = lambda d, old, new: d * old + (1 - d) * new
    averaged = torch.optim.swa_utils.AveragedModel(
        # Its count begins with the weights before the first step, which it takes as they are.
        parameters,
        avg_fn=lambda old, new, count: blend(min(decay, float(count / (9 + count))), old, new),
    )
    averaged.update_parameters(parameters)
    optimiser = torch.optim.SGD(parameters, 1)
    trace = []
    for rate in rates:
        optimiser.param_groups[0]["lr"] = rate
        optimiser.zero_grad()
        F.cross_entropy(net(X), Y).backward()
        optimiser.step()
        averaged.update_parameters(parameters)
        trace.append(averaged.module[names.index("class_output.bias")].detach().tolist())
    return trace


def main():
    results = {"losses": {}}
    for name, loss in LOSSES.items():
        net = tracked()
        results["losses"][name] = report(net, loss(net))
    results["dsm"] = dsm_report()
    results["sam"] = sam(0.05, False)
    results["asam"] = sam(0.5, True)
    cross_entropy = lambda f: F.cross_entropy(f, Y, reduction="sum")
    p = F.softmax(model()(X), 1)
    divergence = lambda f: F.kl_div(F.log_softmax(f, 1), p, reduction="none").sum(1)
    results["pgd_linf"] = ascent(cross_entropy, "linf", 0.1, 0.03)
    results["pgd_l2"] = ascent(cross_entropy, "l2", 0.5, 0.2)
    results["kl_linf"] = ascent(divergence, "linf", 0.1, 0.03)
    results["free"] = free()
    rates = [0.1, 0.05, 0.02, 0.01]
    results["optimizers"] = {
        "sgd": optimiser(lambda p: torch.optim.SGD(p, 1, momentum=0.9, weight_decay=5e-4), rates),
        "nesterov": optimiser(
            lambda p: torch.optim.SGD(p, 1, momentum=0.9, weight_decay=5e-4, nesterov=True), rates
        ),
        "adam": optimiser(
            lambda p: torch.optim.Adam(p, 1, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-3),
            [r / 10 for r in rates],
        ),
        "adamw": optimiser(
            lambda p: torch.optim.AdamW(p, 1, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2),
            [r / 10 for r in rates],
        ),
    }
    results["schedules"] = schedules()
    results["average"] = average(0.2, rates)
    results["sgld"] = chain(0.2, 0.01, 0.0, None)
    results["sgld_momentum"] = chain(0.05, 0.005, 0.8, 0.5)
    results["pyld"] = pyld()
    path = pathlib.Path(__file__).with_suffix(".json")
    rounded = json.loads(json.dumps(results), parse_float=lambda text: float(f"{float(text):.9g}"))
    path.write_text(json.dumps(rounded) + "\n")
    print(torch.__version__, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
