// The lesson's figures: Basin itself in a frame, while a visitor is near. Before and after, and on paper, a still picture.

// Engines that may run at once.
const MOST = 2;
// How long a visitor stays near before a figure starts, so that none does for whoever scrolls by.
const PATIENCE_MS = 400;

const calm = matchMedia("(prefers-reduced-motion: reduce)").matches || navigator.connection?.saveData === true;
// Those with a frame, the oldest first.
let running = [];
// Those about to have one, with their timers.
const arriving = new Map();

const buttonOf = (figure) => figure.querySelector(".controls button");

function start(figure) {
  if (running.includes(figure)) return;
  running.push(figure);
  while (running.length > MOST) stop(running[0]);
  const slot = figure.querySelector(".slot");
  const frame = document.createElement("iframe");
  frame.title = `Live figure of chapter ${figure.closest("section").querySelector("h2").textContent}`;
  frame.src = `./?embed=1${figure.querySelector(".controls a").hash}`;
  frame.addEventListener("load", () => {
    const page = frame.contentDocument;
    if (!page?.title.startsWith("Basin")) {
      stop(figure);
      figure.dataset.stopped = "";
      buttonOf(figure).textContent = "The figure did not load. Try again";
      return;
    }
    page.documentElement.dataset.readings = "";
    const fit = () => {
      frame.style.height = `${Math.ceil(page.body.getBoundingClientRect().height)}px`;
    };
    new frame.contentWindow.ResizeObserver(fit).observe(page.body);
    figure.dataset.live = "";
  });
  slot.append(frame);
  buttonOf(figure).textContent = "Stop the figure";
}

function stop(figure) {
  if (!running.includes(figure)) return;
  running = running.filter((other) => other !== figure);
  const frame = figure.querySelector("iframe");
  // What lies below stays where it is.
  figure.querySelector(".slot").style.minHeight = frame.style.height;
  frame.remove();
  delete figure.dataset.live;
  buttonOf(figure).textContent = "Start the figure";
}

const near = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      clearTimeout(arriving.get(target));
      if (isIntersecting && !("stopped" in target.dataset))
        arriving.set(target, setTimeout(start, PATIENCE_MS, target));
    }
  },
  { rootMargin: "150px 0px" },
);
const far = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) if (!isIntersecting) stop(target);
  },
  { rootMargin: "100% 0px" },
);

for (const figure of document.querySelectorAll("figure")) {
  const button = buttonOf(figure);
  button.hidden = false;
  button.addEventListener("click", () => {
    clearTimeout(arriving.get(figure));
    if (running.includes(figure)) {
      // Who stops a figure does not want it to start by itself.
      figure.dataset.stopped = "";
      stop(figure);
    } else {
      delete figure.dataset.stopped;
      start(figure);
    }
  });
  if (!calm) near.observe(figure);
  far.observe(figure);
}
