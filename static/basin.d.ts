// The types of basin.js.

/** Which energy is descended: E(x, y), E(x), or E(x, y) − E(x). */
export type EnergyKind = "joint" | "marginal" | "conditional";

/** The step of a chain, with its numbers. To alter one, copy the model's own, as `model.generation.sampler`. */
export type Sampler =
  | {
      /** Langevin dynamics: v ← friction · v − step_size · g(∇E(x)), x ← x + v + noise_std · ξ. */
      sgld: {
        step_size: number;
        noise_std: number;
        friction: number;
        gradient: "raw" | "normalize" | { clamp: number };
        clamp: boolean;
      };
    }
  | {
      /** Steps as long as the energy says that the data are away; only of models that have `distances`. */
      by_distance: { h: number; beta: number; last_steps: number; last_h: number };
    };

/** A sampler as a model recommends it. */
export interface SamplerSettings {
  energy: EnergyKind;
  steps: number;
  start: "uniform" | "class_gaussian" | "class_pca";
  sampler: Sampler;
}

/** What a model file says of its model. */
export interface Model {
  name: string;
  architecture: string;
  parameters: number;
  /** Channels of a picture: 1 if grey, 3 if red, green and blue. */
  channels: number;
  /** Height and width of a picture. */
  size: number;
  class_names: string[];
  data_set: string;
  method: string;
  recipe: string;
  /** What was measured, by name. */
  metrics: Record<string, number>;
  hardware: string[];
  /** To draw a class. */
  generation: SamplerSettings;
  /** The same in few steps, where the file says how. */
  quick: SamplerSettings | null;
  /** To clean a picture. */
  denoising: SamplerSettings;
  /** What the energies tell of the distance to the data, where the file says it. */
  distances: object | null;
  licence: string;
  author: string;
  basin_version: string;
  weights_sha256: string;
  file_length: number;
}

/** How far loading is. */
export type Progress =
  | { stage: "fetching"; loaded: number; total: number | null }
  | { stage: "compiling" }
  | { stage: "kernels"; compiled: number; total: number };

export interface LoadOptions {
  /** Which program computes; `"cpu"` if not given. `"gpu"` needs WebGPU. */
  engine?: "cpu" | "gpu";
  signal?: AbortSignal;
  /** Told how far the engine's program is on its way. */
  onProgress?: (progress: Progress) => void;
}

export interface ChainOptions {
  /** Of start and noise: the same seed gives the same pictures. 4711 if not given, as on the page. */
  seed?: number;
  /** Steps to take; as many as the model recommends if not given. */
  steps?: number;
  /** The model's own if not given. */
  energy?: EnergyKind;
  /** The model's own if not given. */
  sampler?: Sampler;
  /** Ends the chain: the loop over its frames then ends with an error whose name is `AbortError`. */
  signal?: AbortSignal;
}

export interface DreamOptions extends ChainOptions {
  /** The class to draw, by number or name; or all of them, one picture each. */
  class: number | string;
  /** Pictures of one class, 1 to 16; 1 if not given. */
  images?: number;
  /** Uniform noise, the class's Gaussian, or pictures to start from; what the model recommends if not given. */
  start?: "noise" | "class" | ArrayLike<number>;
}

export interface DenoiseOptions extends ChainOptions {
  /** Standard deviation of the noise that is added first; 0, none, if not given. */
  sigma?: number;
}

/** The pictures of a chain after some steps. */
export interface Frame {
  /** Steps that led here. The first frame is of step 0, the start. */
  step: number;
  /** `[images, channels, size, size]`, in [0, 1]. */
  pixels: Float32Array;
  /** `[images, classes]` */
  logits: Float32Array;
  /** The energy that is descended, of each picture. */
  energies: number[];
  /** Their mean. */
  energy: number;
  /** What the step took. */
  milliseconds: number;
}

/** The energies of a picture. */
export interface Energies {
  /** E(x) = −log Σ_y exp f(x)[y]. */
  marginal: number;
  /** E(x, y) = −f(x)[y], of each class. */
  joint: number[];
  /** f(x). */
  logits: Float32Array;
}

/** A model in a worker of its own. Whatever goes wrong is an `Error` whose message is a sentence. */
export class Basin {
  private constructor();

  /**
   * Loads a model file, by its address or its bytes, and starts an engine. The built page that basin.js belongs to must be
   * of the same origin as the page that imports it: browsers start no workers of another origin.
   */
  static load(model: string | URL | ArrayBuffer | ArrayBufferView | Blob, options?: LoadOptions): Promise<Basin>;

  /** What the file says of the model. */
  readonly model: Model;
  readonly classNames: string[];
  /** How far this engine is from the numbers in the file, as a share of the largest. */
  readonly selfTest: { logits: number; gradient: number };
  /** `[classes, channels, size, size]`: the mean picture of each class. */
  readonly classMeans: Float32Array;

  /** Draws a class. A model runs one chain at a time: beginning another ends it. */
  dream(options: DreamOptions): AsyncGenerator<Frame, void, void>;

  /** Cleans pictures, `[images, channels, size, size]` in [0, 1]. */
  denoise(pictures: ArrayLike<number>, options?: DenoiseOptions): AsyncGenerator<Frame, void, void>;

  /** The energies of pictures, `[images, channels, size, size]` in [0, 1]; a chain that runs is left alone. */
  energies(pictures: ArrayLike<number>): Promise<Energies[]>;

  /** One of the pictures, for a canvas. */
  imageData(pixels: Float32Array, image?: number): ImageData;

  /** Ends the worker. Chains that run end with an error. */
  close(): void;
}
