// Basin in a page of one's own: loads a model file, draws with it, cleans pictures and reads energies, all in a worker of
// the visitor's browser. basin.d.ts tells the types, and what each part means.

// Where the programs lie from here on. The build fills it in, as their folder is named by their contents; this file's own
// address stays.
const PROGRAMS = "";

// As the page has them.
const LONGEST_FILE = 256 * 2 ** 20;
const LONGEST_CHAIN = 10_000;
const FIRST_SEED = 4711;
const MOST_IMAGES = 16;
const TOLERANCE = 0.01;
// The samplers, and of which type their numbers are.
const SAMPLERS = {
  sgld: {
    step_size: "number",
    noise_std: "number",
    friction: "number",
    gradient: ["raw", "normalize"],
    clamp: "boolean",
  },
  by_distance: { h: "number", beta: "number", last_steps: "number", last_h: "number" },
};
// The spread of a class that a chain starts with, by the start's name in a model card.
const SPREADS = { class_gaussian: 1, class_pca: 0.35 };

export class Basin {
  #engine;
  #chains = 0;

  constructor(engine, { reply, numbers }) {
    this.#engine = engine;
    this.model = reply.model;
    this.selfTest = reply.self_test;
    this.classMeans = numbers;
  }

  static async load(file, options = {}) {
    const { engine: kind = "cpu", signal, onProgress } = understood(options, ["engine", "signal", "onProgress"]);
    if (kind !== "cpu" && kind !== "gpu") throw new RangeError(`engine is ${shown(kind)}, expected "cpu" or "gpu"`);
    const words = () => "loading the model was stopped, as its signal asked";
    if (signal?.aborted) throw stopped(signal, words());
    const engine = new Engine(kind, onProgress);
    const load = async () => {
      const [{ name, bytes }] = await Promise.all([read(file, signal), engine.ready]);
      const answer = await engine.ask({ request: "load" }, bytes);
      const { reply, message, self_test: test } = answer.reply;
      if (reply === "refused") throw new Error(`${name}: ${message}`);
      if (reply === "unable") {
        throw new Error(`${name}: the GPU engine cannot hold this model (${message}); load it with engine: "cpu"`);
      }
      // What is not a number arrives as null.
      const off = Math.max(...[test.logits, test.gradient].map((part) => part ?? Infinity));
      if (!(off <= TOLERANCE)) {
        const instead = kind === "gpu" ? '; load it with engine: "cpu"' : "";
        throw new Error(
          `${name}: the ${kind} engine differs from the file's own numbers by ${off}, expected ${TOLERANCE} at most${instead}`,
        );
      }
      return new Basin(engine, answer);
    };
    try {
      return await unlessStopped(load(), signal, words);
    } catch (error) {
      engine.close("loading the model failed");
      throw error;
    }
  }

  get classNames() {
    return this.model.class_names;
  }

  // Numbers of one picture.
  get #length() {
    return this.model.channels * this.model.size ** 2;
  }

  dream(options = {}) {
    const names = ["class", "images", "seed", "steps", "start", "energy", "sampler", "signal"];
    const given = understood(options, names);
    const { generation } = this.model;
    const images = whole("images", given.images ?? 1, 1, MOST_IMAGES);
    const classes =
      given.class === "all"
        ? this.classNames.slice(0, MOST_IMAGES).map((_, y) => y)
        : Array(images).fill(this.#class(given.class));
    const { origin, pictures } = this.#origin(given.start, classes.length);
    return this.#run(this.#plan(generation, given, classes, origin), pictures, given.signal);
  }

  denoise(pictures, options = {}) {
    const given = understood(options, ["sigma", "seed", "steps", "energy", "sampler", "signal"]);
    const { sigma = 0 } = given;
    if (!(sigma >= 0 && sigma <= 1)) throw new RangeError(`sigma is ${shown(sigma)}, expected 0 to 1`);
    // What they show is not known, and the energy of a model that cleans asks for no class.
    const classes = Array(this.#count(pictures)).fill(0);
    const plan = this.#plan(this.model.denoising, given, classes, { image: { noise: sigma } });
    return this.#run(plan, pictures, given.signal);
  }

  async energies(pictures) {
    const images = this.#count(pictures);
    const { reply, numbers } = await this.#engine.ask({ request: "logits", images, rival: false }, numbersOf(pictures));
    if (reply.fault) throw new Error(reply.fault);
    return rows(numbers, images).map((logits) => {
      const joint = [...logits].map((logit) => -logit);
      return { marginal: marginal(logits), joint, logits };
    });
  }

  imageData(pixels, image = 0) {
    const { channels, size } = this.model;
    const plane = size * size;
    const one = pixels.subarray(image * this.#length, (image + 1) * this.#length);
    if (one.length !== this.#length) {
      throw new RangeError(`there is no picture ${image} among ${pixels.length} numbers of ${this.#length} a picture`);
    }
    const data = new ImageData(size, size);
    // In single precision, as the page rounds.
    const byte = (value) => Math.round(Math.fround(Math.min(Math.max(value, 0), 1) * 255));
    for (let at = 0; at < plane; at += 1) {
      const channel = (c) => byte(one[Math.min(c, channels - 1) * plane + at]);
      data.data.set([channel(0), channel(1), channel(2), 255], 4 * at);
    }
    return data;
  }

  close() {
    this.#engine.close("this model was closed; load it again");
  }

  #class(wanted) {
    const names = this.classNames;
    const last = names.length - 1;
    const found = typeof wanted === "string" ? names.indexOf(wanted) : wanted;
    if (Number.isInteger(found) && found >= 0 && found <= last) return found;
    throw new RangeError(`class is ${shown(wanted)}, expected 0 to ${last}, "all", or one of ${names.join(", ")}`);
  }

  // How many pictures there are.
  #count(pictures) {
    const { channels, size } = this.model;
    const count = pictures?.length / this.#length;
    if (Number.isInteger(count) && count > 0) return count;
    throw new RangeError(
      `the pictures have ${pictures?.length ?? "no"} numbers, expected ${channels} × ${size} × ${size} = ${this.#length} ` +
        "for each",
    );
  }

  // Where a chain starts: as the model recommends, as asked for by name, or from pictures.
  #origin(start, images) {
    const recommended = SPREADS[this.model.generation.start];
    switch (start ?? (recommended === undefined ? "noise" : "class")) {
      case "noise":
        return { origin: "noise", pictures: [] };
      case "class":
        return { origin: { class: { spread: recommended ?? 1 } }, pictures: [] };
    }
    if (typeof start === "string") {
      throw new RangeError(`start is ${shown(start)}, expected "noise", "class", or the numbers of pictures`);
    }
    const count = this.#count(start);
    if (count !== images) throw new RangeError(`start has ${count} pictures, expected ${images}, as many as are drawn`);
    return { origin: { image: { noise: 0 } }, pictures: start };
  }

  // A chain with everything decided, as the page decides it.
  #plan(recommended, { seed = FIRST_SEED, steps, energy, sampler = recommended.sampler }, classes, origin) {
    const step = wholeSampler(sampler, recommended.sampler);
    const kind = energy ?? recommended.energy;
    if (!["joint", "marginal", "conditional"].includes(kind)) {
      throw new RangeError(`energy is ${shown(kind)}, expected "joint", "marginal" or "conditional"`);
    }
    return {
      seed: whole("seed", seed, 0, 2 ** 32 - 1),
      classes,
      // E(x, y) − E(x) tells no distance.
      energy: kind === "conditional" && "by_distance" in step ? "joint" : kind,
      sampler: step,
      steps: whole("steps", steps ?? recommended.steps, 1, LONGEST_CHAIN),
      origin,
      known: null,
      adversary: null,
    };
  }

  async *#run(plan, pictures, signal) {
    const chain = (this.#chains += 1);
    const images = plan.classes.length;
    let step = 0;
    const words = () => `the chain was stopped after step ${step} of ${plan.steps}, as its signal asked`;
    const check = () => {
      if (signal?.aborted) throw stopped(signal, words());
      if (chain === this.#chains) return;
      throw new Error("another chain was begun on this model, which runs one at a time; load it twice to run two");
    };
    check();
    this.#engine.tell({ request: "begin", chain, plan }, numbersOf(pictures));
    for (;;) {
      const asked = this.#engine.ask({ request: "advance", chain, most: 1 }, new Float32Array());
      const { reply, numbers } = await unlessStopped(asked, signal, words);
      if (reply.reply === "refused") throw new Error(reply.message);
      step = reply.step;
      const pixels = numbers.slice(0, images * this.#length);
      const logits = numbers.slice(-images * this.classNames.length);
      const energies = rows(logits, images).map((row, i) => energyOf(plan.energy, row, plan.classes[i]));
      if (!energies.every(Number.isFinite) || !pixels.every(Number.isFinite)) {
        throw new Error(`at step ${step} the chain left the numbers that single precision holds; take a smaller step`);
      }
      const energy = energies.reduce((sum, one) => sum + one, 0) / images;
      yield { step, pixels, logits, energies, energy, milliseconds: reply.milliseconds };
      if (step >= plan.steps) return;
      check();
    }
  }
}

// A worker that computes. It answers in the order in which it is asked.
class Engine {
  #worker;
  #waiting = [];
  #fault = null;

  constructor(kind, onProgress) {
    const script = new URL(`${PROGRAMS}worker.js`, import.meta.url);
    if (script.origin !== location.origin) {
      throw new Error(
        `basin.js was loaded from ${script.origin} into a page of ${location.origin}, and a browser starts workers ` +
          "of the page's own origin only; put the folder of the built page on the host of yours, or show Basin in an iframe",
      );
    }
    try {
      this.#worker = new Worker(script, { type: "module", name: `basin-${kind}` });
    } catch (error) {
      throw new Error(`the browser does not start ${script} as a worker (${error.message})`, { cause: error });
    }
    this.#worker.onmessage = ({ data: [json, numbers] }) => {
      const reply = JSON.parse(json);
      switch (reply.reply) {
        case "fetching":
        case "compiling":
        case "kernels":
          return onProgress?.({ stage: reply.reply, ...numbersIn(reply) });
        case "crashed":
          return this.close(`the ${kind} engine stopped (${reply.message}); load the model again`);
        case "not_started":
          return this.close(
            `the ${kind} engine's program is missing, cut short or of another version than basin.js (${reply.message}); ` +
              "expected all files of one build on the host: reload the page, or copy them again",
          );
        default:
          return this.#waiting.shift()?.resolve({ reply, numbers });
      }
    };
    // What goes wrong later, the worker tells itself.
    this.#worker.onerror = ({ message }) =>
      this.close(
        `${script} could not be started as a worker${message ? ` (${message})` : ""}; expected the programs of ` +
          "basin.js's own build there: copy the whole folder of the built page",
      );
    this.ready = this.#answer();
  }

  // Asks for something that is answered.
  async ask(request, beside) {
    this.tell(request, beside);
    return this.#answer();
  }

  // Asks for something that is not, and hands over what lies beside it.
  tell(request, beside) {
    if (this.#fault) throw this.#fault;
    this.#worker.postMessage([JSON.stringify(request), beside], [beside.buffer]);
  }

  #answer() {
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  // Ends the worker. Whoever waits for it, or asks it later, is told why.
  close(why) {
    if (this.#fault) return;
    this.#fault = new Error(why);
    this.#worker.terminate();
    for (const { reject } of this.#waiting.splice(0)) reject(this.#fault);
  }
}

// The bytes of a model file, which are the caller's no more, and what to call it.
async function read(file, signal) {
  if (file instanceof ArrayBuffer || ArrayBuffer.isView(file)) {
    const bytes = ArrayBuffer.isView(file)
      ? new Uint8Array(file.buffer, file.byteOffset, file.byteLength)
      : new Uint8Array(file);
    return short("the model", bytes.slice());
  }
  if (file instanceof Blob) {
    const name = file.name ?? "the model";
    if (file.size > LONGEST_FILE) throw tooLong(name);
    return short(name, new Uint8Array(await file.arrayBuffer()));
  }
  if (typeof file !== "string" && !(file instanceof URL)) {
    throw new TypeError(`the model is ${shown(file)}, expected the address of a file, or its bytes`);
  }
  const response = await fetch(file, { signal }).catch((error) => {
    throw new Error(`${file}: cannot be reached, or its server does not let other pages read it`, { cause: error });
  });
  if (!response.ok) throw new Error(`${file}: the server answered ${response.status}, expected a model file there`);
  if (Number(response.headers.get("content-length")) > LONGEST_FILE) throw tooLong(file);
  return short(String(file), new Uint8Array(await response.arrayBuffer()));
}

function short(name, bytes) {
  if (bytes.length > LONGEST_FILE) throw tooLong(name);
  return { name, bytes };
}

const tooLong = (name) => new Error(`${name}: longer than 256 MB, which no model here is`);

// A reply without its name.
const numbersIn = ({ reply, ...numbers }) => numbers;

// Numbers of pictures, for a worker to have.
const numbersOf = (pictures) => Float32Array.from(pictures);

// As many equal parts as there are images.
const rows = (numbers, images) => {
  const length = numbers.length / images;
  return Array.from({ length: images }, (_, i) => numbers.slice(i * length, (i + 1) * length));
};

// E(x) = −log Σ_y exp f(x)[y].
function marginal(logits) {
  const most = Math.max(...logits);
  return -most - Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0));
}

function energyOf(kind, logits, y) {
  switch (kind) {
    case "joint":
      return -logits[y];
    case "marginal":
      return marginal(logits);
    default:
      return -logits[y] - marginal(logits);
  }
}

// The promise, unless the signal comes first.
function unlessStopped(promise, signal, words) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const stop = () => reject(stopped(signal, words()));
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

function stopped(signal, words) {
  const error = new Error(words, { cause: signal.reason });
  error.name = "AbortError";
  return error;
}

// Options, none of which may be misspelt.
function understood(options, names) {
  const unknown = Object.keys(options).find((name) => !names.includes(name));
  if (unknown === undefined) return options;
  throw new TypeError(`the option ${shown(unknown)} is not known, expected some of ${names.join(", ")}`);
}

// A sampler with all the numbers that one of its kind has in a model card, `own` being the model's.
function wholeSampler(sampler, own) {
  const [[kind, numbers] = [], ...more] = Object.entries(sampler ?? {});
  const parts = Object.entries(SAMPLERS[kind] ?? {});
  const right = ([name, type]) => {
    const value = numbers[name];
    if (type === "number") return Number.isFinite(value);
    if (type === "boolean") return typeof value === type;
    return type.includes(value) || Number.isFinite(value?.clamp);
  };
  const complete = parts.length > 0 && parts.length === Object.keys(numbers).length && parts.every(right);
  if (complete && more.length === 0) return sampler;
  throw new TypeError(`sampler is ${shown(sampler)}, expected a whole one, as the model's own, ${JSON.stringify(own)}`);
}

function whole(name, value, least, most) {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new RangeError(`${name} is ${shown(value)}, expected a whole number from ${least} to ${most}`);
}

const shown = (value) =>
  (typeof value === "function" ? "a function" : (JSON.stringify(value) ?? String(value))).slice(0, 80);
