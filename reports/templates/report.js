"use strict";
(() => {
  const model = JSON.parse(document.getElementById("report-model").textContent);

  // -- the what-if slider: quantiles of the embedded predictive draws, interpolated in log compute -----------------
  const mantissa = (x, digits) => {
    const [m, e] = x.toExponential(digits).split("e");
    return `${m.includes(".") ? m.replace(/0+$/, "").replace(/\.$/, "") : m}e${Number(e)}`;
  };
  const at = (levels, values, p) => {
    for (let i = 1; i < levels.length; i++)
      if (p <= levels[i]) {
        const t = (p - levels[i - 1]) / (levels[i] - levels[i - 1]);
        return values[i - 1] + t * (values[i] - values[i - 1]);
      }
    return values[values.length - 1];
  };
  const quantilesAt = (s, x) => {
    const g = s.grid;
    let i = 1;
    while (i < g.length - 1 && g[i] < x) i++;
    const t = Math.min(1, Math.max(0, Math.log(x / g[i - 1]) / Math.log(g[i] / g[i - 1])));
    return s.quantiles_GL[i].map((q, j) => s.quantiles_GL[i - 1][j] + t * (q - s.quantiles_GL[i - 1][j]));
  };
  const above = (s, q, threshold) => {
    if (threshold <= q[0]) return `> ${(100 * (1 - s.levels[0])).toFixed(0)} %`;
    if (threshold >= q[q.length - 1]) return `< ${(100 * s.levels[0]).toFixed(0)} %`;
    return `${(100 * (1 - at(q, s.levels, threshold))).toFixed(0)} %`;
  };
  const bold = (text) => Object.assign(document.createElement("strong"), { textContent: text });

  const wire = (box, block) => {
    const slider = box.querySelector("input");
    const which = box.querySelector("select");
    const out = box.querySelector("output");
    const note = box.querySelector(".note");
    const range = (s) => [Math.log(s.grid[0]), Math.log(s.grid[s.grid.length - 1])];
    const show = () => {
      const s = block.series[which ? Number(which.value) : 0];
      const [low, high] = range(s);
      let x = Math.exp(low + ((high - low) * slider.value) / 1000);
      if (Math.abs(Math.log(x / s.target)) < (high - low) / 500) x = s.target;
      const q = quantilesAt(s, x);
      const f = (p) => at(s.levels, q, p).toFixed(s.places);
      const factor = x / s.max_x;
      const reach = factor <= 1.001 ? "inside the data" :
        `${factor < 9.95 ? factor.toPrecision(2) : factor.toFixed(0)}x beyond the data` +
        (s.earned && factor <= s.earned ? ", within what back-tests earned" : ", further than back-tests earned");
      const chance = s.threshold === null ? "" : `; chance above ${s.threshold}: ${above(s, q, s.threshold)}`;
      out.replaceChildren(
        `${mantissa(x, 2)} FLOP: `, bold(f(0.5)),
        ` ${s.unit}, 50 % [${f(0.25)}, ${f(0.75)}], 90 % [${f(0.05)}, ${f(0.95)}]; ${reach}${chance}`
      );
      note.textContent = `${s.draws} predictive draws, digest ${s.digest.slice(0, 16)}`;
      slider.setAttribute("aria-valuetext", `${mantissa(x, 2)} FLOP`);
    };
    const toTarget = () => {
      const s = block.series[which ? Number(which.value) : 0];
      const [low, high] = range(s);
      slider.value = Math.round((1000 * (Math.log(s.target) - low)) / (high - low));
      show();
    };
    slider.addEventListener("input", show);
    if (which) which.addEventListener("change", toTarget);
    box.hidden = false;
    toTarget();
  };
  const blocks = model.blocks.filter((b) => b.kind === "what_if");
  document.querySelectorAll(".what-if").forEach((box, i) => wire(box, blocks[i]));

  // -- tool-tips on points: the browser's own <title> serves without this, but not on focus -------------------------
  const tip = document.getElementById("tip");
  const open = (event) => {
    const point = event.target.closest && event.target.closest(".point");
    if (!point) return;
    const box = point.getBoundingClientRect();
    tip.textContent = point.querySelector("title").textContent;
    tip.hidden = false;
    const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(4, left) + window.scrollX}px`;
    tip.style.top = `${box.top + window.scrollY - tip.offsetHeight - 6}px`;
  };
  const close = () => { tip.hidden = true; };
  document.addEventListener("mouseover", open);
  document.addEventListener("focusin", open);
  document.addEventListener("mouseout", close);
  document.addEventListener("focusout", close);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
})();
