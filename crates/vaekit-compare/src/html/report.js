"use strict";

// Light or dark, against what the system says.
document.getElementById("scheme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.style.colorScheme ? root.style.colorScheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.style.colorScheme = dark ? "light" : "dark";
});

// Tables sort by numbers where a cell has some, else by text; what is absent stays last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const first = head.classList.contains("number") ? "descending" : "ascending";
    const order = head.ariaSort === "ascending" ? "descending" : head.ariaSort === "descending" ? "ascending" : first;
    heads.forEach((other) => { other.ariaSort = other === head ? order : null; });
    const sign = order === "ascending" ? 1 : -1;
    const key = (row) => row.cells[column].dataset.key;
    const compare = (a, b) => {
      if (!head.classList.contains("number")) return sign * a.cells[column].textContent.localeCompare(b.cells[column].textContent);
      const [x, y] = [key(a), key(b)];
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      return sign * (Number(x) - Number(y));
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(compare));
  }));
}

// The divider over two versions of a picture.
for (const picture of document.querySelectorAll(".picture")) {
  const viewer = picture.querySelector(".viewer");
  const versions = [...picture.querySelectorAll(".versions img")];
  const find = (selector) => viewer.querySelector(selector);
  const stage = find(".stage"), cut = find(".cut"), zoom = find(".zoom");
  const sides = ["left", "right"].map((side) => ({
    image: find(`img.${side}`), tag: find(`.tag-${side}`), pick: find(`.pick-${side}`),
  }));

  const show = (side, index) => {
    const version = versions[index];
    if (!version) return;
    side.pick.value = index;
    side.image.src = version.src;
    side.tag.textContent = version.dataset.label;
  };
  const divide = (percent) => {
    cut.value = percent;
    stage.style.setProperty("--cut", `${cut.value}%`);
  };
  for (const side of sides) {
    versions.forEach((version, index) => side.pick.add(new Option(version.dataset.label, index)));
    side.pick.addEventListener("change", () => show(side, side.pick.value));
  }
  const [left, right] = sides;
  show(left, 0);
  show(right, 1);
  versions.forEach((version, index) => version.closest("button").addEventListener("click", () => show(right, index)));
  cut.addEventListener("input", () => divide(cut.value));
  zoom.addEventListener("change", () => {
    stage.classList.toggle("zoomed", zoom.value !== "fit");
    stage.style.setProperty("--zoom", zoom.value);
  });

  const drag = (event) => {
    const box = stage.getBoundingClientRect();
    divide(100 * (event.clientX - box.left) / box.width);
  };
  stage.addEventListener("pointerdown", (event) => {
    // A finger on an enlarged picture moves it instead.
    if (event.pointerType === "touch" && stage.classList.contains("zoomed")) return;
    stage.setPointerCapture(event.pointerId);
    drag(event);
  });
  stage.addEventListener("pointermove", (event) => { if (stage.hasPointerCapture(event.pointerId)) drag(event); });

  const onlyLeft = (yes) => stage.classList.toggle("only-left", yes);
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") divide(Number(cut.value) + (event.key === "ArrowLeft" ? -2 : 2));
    else if (/^\d$/.test(event.key)) show(right, Number(event.key));
    else if (event.key === " ") onlyLeft(true);
    else return;
    event.preventDefault();
  });
  stage.addEventListener("keyup", (event) => { if (event.key === " ") onlyLeft(false); });
  stage.addEventListener("blur", () => onlyLeft(false));
  viewer.hidden = false;
}
