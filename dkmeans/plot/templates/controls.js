"use strict";
// Buttons, a slider and a number in `root` that step through frames; `show` draws one of them.
const controls = (root, count, show, delay) => {
  const [play, back, on, slider, number] = ["play", "back", "on", "frame", "number"].map((name) =>
    root.querySelector(`[data-is="${name}"]`),
  );
  let current = 0;
  let timer = null;
  const go = (wanted) => {
    current = Math.min(Math.max(wanted, 0), count - 1);
    show(current);
    slider.value = current;
    number.textContent = `${current + 1} of ${count}`;
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  };
  const start = () => {
    if (current === count - 1) go(0);
    play.textContent = "Pause";
    timer = setInterval(() => {
      go(current + 1);
      if (current === count - 1) stop();
    }, delay);
  };
  slider.max = count - 1;
  slider.addEventListener("input", () => { stop(); go(Number(slider.value)); });
  back.addEventListener("click", () => { stop(); go(current - 1); });
  on.addEventListener("click", () => { stop(); go(current + 1); });
  play.addEventListener("click", () => (timer === null ? start() : stop()));
  window.addEventListener("beforeprint", () => { stop(); go(count - 1); });
  go(count - 1);
};
