(function () {
  "use strict";
  var rules = Array.prototype.slice.call(document.querySelectorAll("details.rule"));
  var heads = Array.prototype.slice.call(document.querySelectorAll("h2.group"));
  var folds = Array.prototype.slice.call(document.querySelectorAll("details.fold"));
  var boxes = Array.prototype.slice.call(document.querySelectorAll("input[data-kind]"));
  var find = document.getElementById("find"), group = document.getElementById("group"), shown = document.getElementById("shown");
  function filter() {
    var kinds = {}, words = find.value.toLowerCase().split(/\s+/).filter(Boolean), count = 0, alive = {};
    boxes.forEach(function (box) { kinds[box.dataset.kind] = box.checked; });
    rules.forEach(function (rule) {
      var text = rule.textContent.toLowerCase();
      var stays = kinds[rule.dataset.kind] && (!group.value || group.value === rule.dataset.group) &&
        words.every(function (word) { return text.indexOf(word) >= 0; });
      rule.classList.toggle("gone", !stays);
      if (stays) { count += 1; alive[rule.dataset.group] = true; }
    });
    folds.forEach(function (fold) {
      fold.open = fold.open || words.length > 0;
      fold.classList.toggle("gone", !fold.querySelector("details.rule:not(.gone)"));
    });
    heads.forEach(function (head) { head.classList.toggle("gone", !alive[head.dataset.group] && head.dataset.group !== "Everything else"); });
    shown.textContent = count + " of " + rules.length + " rules";
  }
  function reveal() {
    var target = location.hash && document.getElementById(location.hash.slice(1));
    if (!target) { return; }
    for (var at = target; at; at = at.parentElement) {
      if (at.tagName === "DETAILS") { at.open = true; at.classList.remove("gone"); }
    }
    target.scrollIntoView();
  }
  boxes.forEach(function (box) { box.addEventListener("change", filter); });
  find.addEventListener("input", filter);
  group.addEventListener("change", filter);
  document.getElementById("open").addEventListener("click", function () { rules.concat(folds).forEach(function (each) { each.open = true; }); });
  document.getElementById("close").addEventListener("click", function () { rules.forEach(function (rule) { rule.open = false; }); });
  window.addEventListener("hashchange", reveal);
  document.querySelector("nav.filters").hidden = false;
  filter();
  reveal();
})();
