(() => {
  const node = document.getElementById("player-data");
  if (!node) return;
  const data = JSON.parse(node.textContent);
  const [picture, caption] = ["player", "player-caption"].map((id) => document.getElementById(id));
  const [width, height] = data.size;
  picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const star = "M0-15 4-5 15-5 6 2 9 13 0 6-9 13-6 2-15-5-4-5Z";

  const make = (parent, name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return parent.appendChild(made);
  };

  // The part of the picture nearer to centers[i] than to any other: it is cut along the bisectors.
  const region = (centers, i) => {
    const [sx, sy] = data.scale;
    let polygon = [[0, 0], [width, 0], [width, height], [0, height]];
    centers.forEach(([x, y], j) => {
      const [a, b] = [2 * sx * (x - centers[i][0]), 2 * sy * (y - centers[i][1])];
      if (j === i || (a === 0 && b === 0)) return;
      const limit = sx * (x ** 2 - centers[i][0] ** 2) + sy * (y ** 2 - centers[i][1] ** 2);
      const side = ([px, py]) => a * px + b * py - limit;
      polygon = polygon.flatMap((p, at) => {
        const q = polygon[(at + 1) % polygon.length];
        const [from, to] = [side(p), side(q)];
        const kept = from <= 0 ? [p] : [];
        if ((from < 0 && to > 0) || (from > 0 && to < 0)) {
          const share = from / (from - to);
          kept.push([p[0] + share * (q[0] - p[0]), p[1] + share * (q[1] - p[1])]);
        }
        return kept;
      });
    });
    return polygon.map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" ");
  };

  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const colors = dark ? data.dark : data.light;
  const color = (label) => (label === undefined ? "gray" : colors[label]);
  const regions = data.regions ? colors.map((fill) => make(picture, "polygon", { class: "border", fill })) : [];
  const points = data.points.map(([cx, cy]) => make(picture, "circle", { cx, cy, r: 4.5, "fill-opacity": 0.75 }));
  const trails = colors.map(() => make(picture, "line", { class: "trail" }));
  const centers = colors.map(() => make(picture, "g", { class: "center" }));
  centers.forEach((center, i) => make(center, "path", { d: star, fill: colors[i] }));
  make(picture, "text", { x: width - 12, y: height - 12, "text-anchor": "end" }).textContent = data.x_name;
  make(picture, "text", { x: 12, y: 28 }).textContent = data.y_name;

  const show = (at) => {
    const frame = data.frames[at];
    const labels = frame.labels === null ? [] : data.labels[frame.labels];
    points.forEach((point, i) => point.setAttribute("fill", color(labels[i])));
    const from = frame.assigned;
    regions.forEach((polygon, i) => polygon.setAttribute("points", region(from, i)));
    frame.centers.forEach(([x, y], i) => {
      centers[i].style.transform = `translate(${x}px, ${y}px)`;
      for (const [key, value] of Object.entries({ x1: from[i][0], y1: from[i][1], x2: x, y2: y }))
        trails[i].setAttribute(key, value);
    });
    picture.dataset.phase = frame.phase;
    caption.textContent = frame.caption;
  };

  controls(picture.closest(".player"), data.frames.length, show, 900);
})();
