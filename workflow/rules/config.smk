# Which config: the shipped example, unless --configfile names others, which replace all of it.
# In:  the command line; where a job runs elsewhere, the part of the config that was written for it
# Out: config

import os

# what a job elsewhere reads (common.smk) replaces the example, too
if not workflow.overwrite_configfiles and (
    workflow.is_main_process or not os.path.isdir(os.environ.get("BAKERY_PARTS", ""))
):

    configfile: "config/config.yaml"
